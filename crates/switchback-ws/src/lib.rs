//! WebSocket (RFC 6455) for hyper servers and for clients, behind the Switchback Transport trait.
