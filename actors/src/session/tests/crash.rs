//! A node that dies at each of its commits in turn.
