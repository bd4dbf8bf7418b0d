//! A few threads for work that would keep the event loop from its next request.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

type Work = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub(crate) struct Pool {
    queue: Option<Sender<Work>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let (queue, work) = channel::<Work>();
        let work = Arc::new(Mutex::new(work));
        let spawn = |n| {
            let work = Arc::clone(&work);
            std::thread::Builder::new().name(format!("tickfs-{n}")).spawn(move || {
                loop {
                    // The lock is held while waiting: whoever has it takes the next work.
                    let next = work.lock().recv();
                    let Ok(next) = next else { return };
                    next();
                }
            })
        };
        Ok(Self { queue: Some(queue), threads: (0..threads).map(spawn).collect::<std::io::Result<_>>()? })
    }

    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) {
        let Some(queue) = &self.queue else { return };
        // It fails only when every thread is gone; then the work is dropped, and with it the request answered.
        if let Err(refused) = queue.send(Box::new(work)) {
            drop(refused);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                debug_assert!(false, "work in the pool does not panic, because it is caught");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn all_work_is_done_before_the_pool_is_gone() {
        let done = Arc::new(AtomicU32::new(0));
        let pool = Pool::new(2).unwrap();
        for _ in 0..100 {
            let done = Arc::clone(&done);
            pool.run(move || {
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        drop(pool);
        assert_eq!(done.load(Ordering::SeqCst), 100);
    }
}
