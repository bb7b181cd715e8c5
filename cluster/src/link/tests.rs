//! Two and three nodes in one process over loopback, through a proxy that resets, delays and swallows.

mod basics;
mod cluster;
mod faults;
mod load;
mod trust;
