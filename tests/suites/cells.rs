//! The cell holds: hostile artifacts and guests against the real program.

mod attacks;
mod compiling;
mod manifest;
