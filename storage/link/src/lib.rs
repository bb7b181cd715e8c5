//! The served store: the store of one process, offered to the other nodes of a laptop or CI cluster over mutual TLS.
