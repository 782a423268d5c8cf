//! Tests that need the whole system live in this package: `it/` starts services against real servers. The library
//! itself is empty.
