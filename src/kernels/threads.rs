//! The threads that share one layer's work: a fork-join pool, made when a bundle is loaded.
//!
//! A network has some fifty layers of a fraction of a millisecond each, so a fork and its join must cost
//! microseconds: whoever waits spins first, and sleeps if that did not help. Workers join a job only while it is
//! open, so that a worker which the system has not woken yet holds nobody up: the others do its share. Which
//! part of a layer a task is, is the kernels' business.

use std::any::Any;
use std::cell::UnsafeCell;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::scratch;

/// How long a thread spins before it sleeps: longer than the pauses between two layers, and nothing against the
/// pauses between two frames.
const SPIN: Duration = Duration::from_micros(50);

/// Threads that run tasks together with the one that asks. Dropping it ends them.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the caller whose job it is.
    turn: Mutex<()>,
}

impl Pool {
    /// A pool of `threads` threads, the caller of [`Self::run`] being one of them.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub fn new(threads: NonZeroUsize) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        // more threads than cores: spinning would take the time of the one that is waited for
        let spin = if threads.get() > cores {
            Duration::ZERO
        } else {
            SPIN
        };
        let mut pool = Self {
            shared: Arc::new(Shared::new(spin)),
            workers: Vec::new(),
            turn: Mutex::new(()),
        };
        for number in 1..threads.get() {
            let shared = Arc::clone(&pool.shared);
            let worker = std::thread::Builder::new().name(format!("kernels-{number}"));
            pool.workers.push(worker.spawn(move || shared.work())?);
        }
        Ok(pool)
    }

    /// A pool of the caller alone.
    #[must_use]
    pub fn serial() -> Self {
        Self {
            shared: Arc::new(Shared::new(Duration::ZERO)),
            workers: Vec::new(),
            turn: Mutex::new(()),
        }
    }

    /// How many threads run tasks, the caller included.
    #[must_use]
    pub fn threads(&self) -> usize {
        1 + self.workers.len()
    }

    /// Calls `task(0)` to `task(tasks - 1)`, each once, in any order and on any thread, and returns when all
    /// have returned. Where the workers are busy for another caller (or for the one that this call is a task
    /// of), the caller does all of it alone.
    ///
    /// # Panics
    /// If a task does; the tasks that had not begun are then left out.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() || tasks <= 1 {
            return (0..tasks).for_each(task);
        }
        let Ok(turn) = self.turn.try_lock() else {
            return (0..tasks).for_each(task);
        };
        let outcome = self.shared.lead(tasks, task);
        drop(turn);
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.0.fetch_or(STOP, Ordering::SeqCst);
        drop(lock(&self.shared.sleep)); // a worker is either asleep now or sees the bit
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            worker.join().ok(); // tasks' panics do not end workers
        }
    }
}

/// Alone on its cache lines, as several threads write it.
#[derive(Debug)]
#[repr(align(128))]
struct Alone<T>(T);

// What `state` holds, from the lowest bit: workers inside the job, then these bits, then the job's number, which
// wraps: a worker that confuses two jobs only fails to help with one.
/// Workers may enter.
const OPEN: usize = 1 << 16;
/// The caller sleeps until the last worker has left.
const AWAITED: usize = 1 << 17;
/// The pool is over.
const STOP: usize = 1 << 18;
const NUMBER: usize = 1 << 19;
const INSIDE: usize = OPEN - 1;

type Panic = Box<dyn Any + Send>;

/// One call of [`Pool::run`], its closure's lifetime erased.
#[derive(Clone, Copy)]
struct Job {
    tasks: usize,
    task: &'static (dyn Fn(usize) + Sync),
}

struct Shared {
    state: Alone<AtomicUsize>,
    /// The number of the next task.
    next: Alone<AtomicUsize>,
    /// Written by the caller while the job is shut and nobody is inside, read by those inside.
    job: UnsafeCell<Job>,
    /// Workers that sleep or are about to.
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    /// What the first task that panicked had to say.
    panic: Mutex<Option<Panic>>,
    left: Condvar,
    spin: Duration,
}

// SAFETY: everything in it is Sync but `job`, and `state` orders its uses: it is written only between a load that
// saw no worker inside a shut job and the store that opens it, by the one thread that holds `Pool::turn`.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// No code panics while it holds one of our locks, so what they guard is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Spins until `done` or for `limit`; the answer is whether it is done.
fn spin(limit: Duration, done: impl Fn() -> bool) -> bool {
    if done() {
        return true;
    }
    if limit.is_zero() {
        return false;
    }
    let started = Instant::now();
    while started.elapsed() < limit {
        for _ in 0..16 {
            std::hint::spin_loop();
            if done() {
                return true;
            }
        }
    }
    false
}

impl Shared {
    fn new(spin: Duration) -> Self {
        Self {
            state: Alone(AtomicUsize::new(0)),
            next: Alone(AtomicUsize::new(0)),
            job: UnsafeCell::new(Job {
                tasks: 0,
                task: &|_| (),
            }),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            panic: Mutex::new(None),
            left: Condvar::new(),
            spin,
        }
    }

    /// The caller's part: opens the job, works, shuts it, waits for those inside.
    #[allow(unsafe_code)]
    fn lead(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) -> Result<(), Panic> {
        // SAFETY: only the lifetime changes. Workers call the closure only while they are inside the job, and
        // this function does not return, by a panic neither, before `shut` saw the last of them leave.
        let task = unsafe {
            std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(task)
        };
        let job = Job { tasks, task };
        // SAFETY: this thread holds `Pool::turn`, and the `shut` of the job before saw nobody inside; nobody
        // enters before the store of OPEN below.
        unsafe { *self.job.get() = job };
        self.next.0.store(0, Ordering::Relaxed);
        let number = (self.state.0.load(Ordering::Relaxed) & !(NUMBER - 1)).wrapping_add(NUMBER);
        self.state.0.store(number | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.sleep)); // whoever counts itself a sleeper is asleep now or has seen the job
            self.wake.notify_all();
        }
        self.share(job);
        self.shut();
        match lock(&self.panic).take() {
            None => Ok(()),
            Some(panic) => Err(panic),
        }
    }

    /// Takes tasks until there are none left. A panic is kept for the caller.
    fn share(&self, job: Job) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let number = self.next.0.fetch_add(1, Ordering::Relaxed);
                if number >= job.tasks {
                    break;
                }
                (job.task)(number);
            }
        }));
        if let Err(panic) = outcome {
            self.next.0.store(job.tasks, Ordering::Relaxed);
            lock(&self.panic).get_or_insert(panic);
        }
    }

    /// Lets nobody in any more and waits for those inside.
    fn shut(&self) {
        let empty = || self.state.0.load(Ordering::Acquire) & INSIDE == 0;
        self.state.0.fetch_and(!OPEN, Ordering::SeqCst);
        if spin(self.spin, empty) {
            return;
        }
        self.state.0.fetch_or(AWAITED, Ordering::SeqCst);
        let mut panic = lock(&self.panic);
        while !empty() {
            panic = self
                .left
                .wait(panic)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A worker's life.
    fn work(&self) {
        scratch::touch();
        let mut last = 0;
        loop {
            let state = self.state.0.load(Ordering::Acquire);
            if state & STOP != 0 {
                return;
            }
            if !news(state, last) {
                if !spin(self.spin, || {
                    news(self.state.0.load(Ordering::Relaxed), last)
                }) {
                    self.doze(last);
                }
                continue;
            }
            let entered = self.state.0.compare_exchange(
                state,
                state + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            if entered.is_ok() {
                last = state / NUMBER;
                self.help();
            }
        }
    }

    /// What a worker does inside a job.
    #[allow(unsafe_code)]
    fn help(&self) {
        // SAFETY: this thread is counted inside the open job that the acquiring exchange saw, so the caller
        // wrote it before and will not write it, or let the closure end, before this thread has left.
        let job = unsafe { *self.job.get() };
        self.share(job);
        let before = self.state.0.fetch_sub(1, Ordering::SeqCst);
        if before & (INSIDE | AWAITED) == AWAITED | 1 {
            drop(lock(&self.panic)); // the caller is asleep now or sees that nobody is inside
            self.left.notify_one();
        }
    }

    /// Sleeps until there is news.
    fn doze(&self, last: usize) {
        let mut asleep = lock(&self.sleep);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !news(self.state.0.load(Ordering::SeqCst), last) {
            asleep = self
                .wake
                .wait(asleep)
                .unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A job to enter that is not number `last`, or the end.
fn news(state: usize, last: usize) -> bool {
    state & STOP != 0 || (state & OPEN != 0 && state / NUMBER != last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn pool(threads: usize) -> Pool {
        Pool::new(NonZeroUsize::new(threads).unwrap()).unwrap()
    }

    /// Runs `tasks` tasks and checks that each ran once.
    fn check(pool: &Pool, tasks: usize) {
        let ran: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        pool.run(tasks, &|i| {
            ran[i].fetch_add(1, Ordering::Relaxed);
        });
        for (i, ran) in ran.into_iter().enumerate() {
            assert_eq!(ran.into_inner(), 1, "task {i} of {tasks}");
        }
    }

    #[test]
    fn every_task_runs_once_on_any_number_of_threads() {
        for threads in [1, 2, 3, 4, 16] {
            let pool = pool(threads);
            assert_eq!(pool.threads(), threads);
            for tasks in [0, 1, 2, 3, 7, 64, 1000] {
                check(&pool, tasks);
            }
        }
        check(&Pool::serial(), 10);
    }

    #[test]
    fn small_jobs_one_after_the_other_lose_nothing() {
        for threads in [2, 5] {
            let pool = pool(threads);
            let sum = AtomicUsize::new(0);
            for round in 0..20_000 {
                pool.run(threads, &|i| {
                    sum.fetch_add(i + round, Ordering::Relaxed);
                });
            }
            let each: usize = (0..threads).sum();
            let rounds: usize = (0..20_000).sum();
            assert_eq!(sum.into_inner(), 20_000 * each + threads * rounds);
        }
    }

    #[test]
    fn workers_that_fell_asleep_come_back() {
        let pool = pool(2);
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(5));
            // the second task only ends once another thread has run the first
            let met = AtomicUsize::new(0);
            pool.run(2, &|_| {
                met.fetch_add(1, Ordering::SeqCst);
                while met.load(Ordering::SeqCst) < 2 {
                    std::thread::yield_now();
                }
            });
        }
    }

    #[test]
    fn a_slow_worker_is_waited_for() {
        let pool = pool(2);
        let done = AtomicUsize::new(0);
        let met = AtomicUsize::new(0);
        let caller = std::thread::current().id();
        pool.run(2, &|_| {
            met.fetch_add(1, Ordering::SeqCst);
            while met.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
            if std::thread::current().id() != caller {
                std::thread::sleep(Duration::from_millis(20)); // longer than the caller spins
            }
            done.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(done.into_inner(), 2);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = pool(3);
        for bad in 0..20 {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run(20, &|i| assert_ne!(i, bad, "as planned"));
            }));
            let panic = outcome.unwrap_err();
            let text = panic.downcast_ref::<String>().unwrap();
            assert!(text.contains("as planned"), "{text}");
            check(&pool, 50);
        }
    }

    #[test]
    fn two_callers_at_once_and_a_task_that_calls_get_their_work_done() {
        let pool = pool(3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..2000).for_each(|i| check(&pool, i % 9)));
            }
        });
        pool.run(4, &|_| check(&pool, 5));
    }

    #[test]
    fn a_pool_that_is_dropped_at_once_or_busy_a_moment_before_ends() {
        for i in 0..200 {
            let pool = pool(1 + i % 5);
            if i % 2 == 0 {
                check(&pool, 10);
            }
        }
    }

    #[test]
    fn what_tasks_wrote_is_seen_after_the_run() {
        let pool = pool(4);
        let flags: Vec<AtomicBool> = (0..64).map(|_| AtomicBool::new(false)).collect();
        for _ in 0..2000 {
            pool.run(64, &|i| flags[i].store(true, Ordering::Relaxed));
            for flag in &flags {
                assert!(flag.swap(false, Ordering::Relaxed));
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
        #[test]
        fn any_series_of_jobs_is_run(
            threads in 1usize..6,
            jobs in proptest::collection::vec((0usize..40, proptest::bool::weighted(0.2)), 1..60),
        ) {
            let pool = pool(threads);
            for (tasks, pause) in jobs {
                if pause {
                    std::thread::sleep(2 * SPIN);
                }
                check(&pool, tasks);
            }
        }
    }
}
