//! The real BullMQ, both majors, on the other side.

mod mixed;
mod observer;
mod producer;
