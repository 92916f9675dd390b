//! Sessions that survive transports: numbering, acks, replay, resume, hand-over and choice, as pure state machines.
