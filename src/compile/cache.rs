//! What was compiled lately in this process, to be found again by the graph it was compiled from.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::Options;
use crate::graph::Part;
use crate::ops::{Graph, Op};
use crate::runtime::Executable;

/// Programs that are kept, whoever else uses them; the one not asked for longest goes first.
const CAPACITY: usize = 64;

struct Entry {
    hash: u64,
    graph: Graph,
    options: Options,
    executable: Executable,
}

/// Latest first.
static CACHE: Mutex<VecDeque<Entry>> = Mutex::new(VecDeque::new());

fn with_cache<T>(use_it: impl FnOnce(&mut VecDeque<Entry>) -> T) -> T {
    // Entries go in and out whole, so the cache is sound whatever happened to its last user.
    use_it(&mut CACHE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What this part of a graph was compiled to with these options.
pub(super) fn find(hash: u64, part: &Part<'_, Op>, options: &Options) -> Option<Executable> {
    with_cache(|cache| {
        let is_it =
            |entry: &Entry| entry.hash == hash && entry.options == *options && part.is_same(&entry.graph);
        let found = cache.iter().position(is_it)?;
        let entry = cache.remove(found)?;
        let executable = entry.executable.clone();
        cache.push_front(entry);
        Some(executable)
    })
}

/// Keeps what a graph was compiled to.
pub(super) fn keep(hash: u64, graph: Graph, options: Options, executable: Executable) {
    let dropped = with_cache(|cache| {
        cache.push_front(Entry { hash, graph, options, executable });
        cache.split_off(cache.len().min(CAPACITY))
    });
    // Code is unmapped outside the lock.
    drop(dropped);
}

/// Forgets every compiled program that [`crate::Options::cache`] lets compilations share. Those in use stay as they are.
pub fn clear_cache() {
    drop(with_cache(std::mem::take));
}
