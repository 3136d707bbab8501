//! Artifacts that are shaped to be expensive to compile, all within the caps of admission.

use super::{by_hand, handle};

fn beside_a_handler(function: &str) -> Vec<u8> {
    by_hand(&format!("{} {function}", handle("(i32.const 0)")))
}

/// One function of empty loops.
pub(crate) fn empty_loops(count: usize) -> Vec<u8> {
    beside_a_handler(&format!("(func {})", "loop end ".repeat(count)))
}

/// One function of blocks inside of blocks, each of which can be left at once.
pub(crate) fn nested_blocks(depth: usize) -> Vec<u8> {
    let (open, close) = ("block local.get 0 br_if 0 ".repeat(depth), "end ".repeat(depth));
    beside_a_handler(&format!("(func (param i32) {open} {close})"))
}

/// One function of many steps, each of which needs what the one before made, and may or may not have run.
pub(crate) fn huge_function(instructions: usize) -> Vec<u8> {
    let locals = "(local i64 i64 i64 i64)";
    let step = "local.get 1 local.get 2 i64.mul local.get 3 i64.xor local.tee 1 i64.popcnt local.set 2 \
                local.get 4 local.get 1 i64.rotl local.set 3 local.get 0 if local.get 3 local.set 4 end ";
    beside_a_handler(&format!("(func (param i32) {locals} {})", step.repeat(instructions)))
}

/// As many functions as there may be, none of them empty.
pub(crate) fn many_functions(count: usize) -> Vec<u8> {
    let one = "(func (param i32) (result i32) local.get 0 i32.const 7 i32.mul local.get 0 i32.div_u \
               local.get 0 i32.load i32.add)";
    beside_a_handler(&one.repeat(count))
}
