//! Node-to-node traffic: mutually authenticated links over ractor_cluster, with deadlines, credit and resumption.
