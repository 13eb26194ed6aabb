//! Loops over numbers with the widest instructions that the machine has.

#[cfg(target_arch = "x86_64")]
use pulp::x86::{V3, V4};

/// Runs `work` compiled for the widest vectors of this machine, as far as the compiler can use them in it. What `work`
/// calls has to be inlined into it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn wide<R>(work: impl FnOnce() -> R) -> R {
    if let Some(simd) = V4::try_new() {
        return simd.vectorize(work);
    }
    match V3::try_new() {
        Some(simd) => simd.vectorize(work),
        None => work(),
    }
}

/// Runs `work`.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub fn wide<R>(work: impl FnOnce() -> R) -> R {
    work()
}
