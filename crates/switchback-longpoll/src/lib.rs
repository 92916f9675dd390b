//! Long-polling with a cursor, for hyper servers and for clients, behind the Switchback Transport trait.
