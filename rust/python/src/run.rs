//! Long work: off the interpreter lock, on a pool of threads, with progress and Ctrl-C.

use crate::errors::walk_error;
use fastwalk_core::error::WalkError;
use fastwalk_core::tree::Control;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

/// How often Python gets a look at a signal and at the progress.
const TICK: Duration = Duration::from_millis(50);

/// How long this thread stays awake for a result: to be woken takes as long as a small walk.
const SOON: Duration = Duration::from_millis(1);

static POOLS: LazyLock<Mutex<HashMap<usize, Arc<ThreadPool>>>> = LazyLock::new(Mutex::default);

/// How many there are for this process; to ask takes as long as a small walk.
static PROCESSORS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));

/// The pool of that many threads; None: as many as the machine has processors.
pub fn pool(threads: Option<usize>) -> PyResult<Arc<ThreadPool>> {
    let threads = threads.unwrap_or_else(|| *PROCESSORS);
    if !(1..=1024).contains(&threads) {
        return Err(PyValueError::new_err(format!(
            "threads is {threads}, not in 1 to 1024"
        )));
    }
    let mut pools = POOLS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(pool) = pools.get(&threads) {
        return Ok(pool.clone());
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("fastwalk-{i}"))
        .build()
        .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    let pool = Arc::new(pool);
    pools.insert(threads, pool.clone());
    Ok(pool)
}

/// Runs `work` on a pool while this thread listens to Python: signals, and
/// `progress(tables, rows)`, which cancels by returning True or by raising.
pub fn run<T: Send>(
    py: Python<'_>,
    threads: Option<usize>,
    progress: Option<&Py<PyAny>>,
    work: impl FnOnce(&Control) -> Result<T, WalkError> + Send,
) -> PyResult<T> {
    let pool = pool(threads)?;
    let control = Control::default();
    let outcome = py.detach(|| {
        let (done, finished) = mpsc::channel();
        pool.in_place_scope(|scope| {
            let control = &control;
            scope.spawn(move |_| {
                // The receiver only goes away with this scope.
                let _ = done.send(work(control));
            });
            let mut interrupted = None;
            let start = Instant::now();
            let result = loop {
                match receive(&finished, start) {
                    Ok(result) => break Ok(result),
                    Err(mpsc::RecvTimeoutError::Disconnected) => break Err(()),
                    Err(mpsc::RecvTimeoutError::Timeout) if interrupted.is_some() => {}
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        if let Err(error) = listen(control, progress) {
                            control.cancel.store(true, Relaxed);
                            interrupted = Some(error);
                        }
                    }
                }
            };
            match (interrupted, result) {
                (Some(error), _) => Err(error),
                (None, Ok(result)) => Ok(result),
                (None, Err(())) => Err(PyRuntimeError::new_err("a worker thread died")),
            }
        })
    })?;
    let value = outcome.map_err(|error| walk_error(py, &error))?;
    if let Some(progress) = progress {
        progress.call1(
            py,
            (control.tables.load(Relaxed), control.rows.load(Relaxed)),
        )?;
    }
    Ok(value)
}

/// Waits for a result, a tick at most; awake, as long as it is not long since `start`.
fn receive<T>(finished: &mpsc::Receiver<T>, start: Instant) -> Result<T, mpsc::RecvTimeoutError> {
    while start.elapsed() < SOON {
        match finished.try_recv() {
            Ok(result) => return Ok(result),
            Err(mpsc::TryRecvError::Disconnected) => {
                return Err(mpsc::RecvTimeoutError::Disconnected);
            }
            Err(mpsc::TryRecvError::Empty) => std::thread::yield_now(),
        }
    }
    finished.recv_timeout(TICK)
}

fn listen(control: &Control, progress: Option<&Py<PyAny>>) -> PyResult<()> {
    Python::attach(|py| {
        py.check_signals()?;
        let Some(progress) = progress else {
            return Ok(());
        };
        let counts = (control.tables.load(Relaxed), control.rows.load(Relaxed));
        if progress.call1(py, counts)?.is_truthy(py)? {
            return Err(walk_error(py, &WalkError::Cancelled));
        }
        Ok(())
    })
}
