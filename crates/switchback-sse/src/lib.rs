//! Server-Sent Events both ways, alone or as a bidirectional Switchback transport with POST upstream.
