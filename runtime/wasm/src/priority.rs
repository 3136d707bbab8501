//! Whose work comes first where there is more of it than cores.

/// How far behind the host's own threads: with all cores busy a third of what one of those gets.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// Has the calling thread, and those that it starts from now on, come behind the host's own, for good: behind the jobs that
/// run. Where nothing else wants the cores, it makes no difference. The priority is a thread's and not its process's, on
/// Linux: those that are there already stay where they are.
pub(crate) fn step_back() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(NICE);
}
