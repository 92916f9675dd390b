//! A fault-injecting TCP proxy: cut, delay, black-hole, truncate, buffer, kill after a while, by direction.
