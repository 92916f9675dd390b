//! What the HTTP-borne transports of Switchback share: a task-free HTTP/1.1 client, batches, numbered POSTs.
