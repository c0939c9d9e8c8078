//! Named tasks in stages, stopped in order.
//!
//! Always: a stage is told to stop only after the one before it has ended, so that what was accepted is stored,
//! judged and sent.   Limits: one grace period for all of them; what runs past it is named and left behind.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Tasks that stop together.
pub struct Stage {
    name: &'static str,
    stop: CancellationToken,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
}

impl Stage {
    /// A stage without tasks.
    pub fn new(name: &'static str) -> Self {
        Self { name, stop: CancellationToken::new(), tasks: Vec::new() }
    }

    /// What the stage's tasks watch.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task of this stage.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push((name, tokio::spawn(task)));
    }
}

impl Drop for Stage {
    /// A stage that is given up, as by a start that failed half way, tells its tasks to stop.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Every stage, in the order in which they stop.
#[derive(Default)]
pub struct Stages(Vec<Stage>);

impl Stages {
    /// Adds the stage that stops after those added before.
    pub fn push(&mut self, stage: Stage) {
        self.0.push(stage);
    }

    /// Completes with the name of a task that ended although nobody asked it to.
    pub async fn first_unexpected_end(&mut self) -> &'static str {
        std::future::poll_fn(|cx| {
            for (name, task) in self.0.iter_mut().flat_map(|stage| &mut stage.tasks) {
                if let std::task::Poll::Ready(outcome) = std::pin::Pin::new(task).poll(cx) {
                    if let Err(error) = outcome {
                        warn!(task = name, %error, "a task ended in a panic");
                    }
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Stops stage after stage within `grace`; returns the names of tasks that ran past it.
    pub async fn stop(self, grace: Duration) -> Vec<&'static str> {
        let deadline = Instant::now() + grace;
        let mut unfinished = Vec::new();
        for mut stage in self.0 {
            debug!(stage = stage.name, "stopping");
            stage.stop.cancel();
            for (name, task) in std::mem::take(&mut stage.tasks) {
                if task.is_finished() {
                    continue;
                }
                let abort = task.abort_handle();
                if tokio::time::timeout_at(deadline, task).await.is_err() {
                    abort.abort();
                    unfinished.push(name);
                }
            }
        }
        unfinished
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_stage_stops_only_after_the_one_before_it_has_ended() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut stages = Stages::default();
        for name in ["first", "second"] {
            let mut stage = Stage::new(name);
            let (stop, order) = (stage.stop(), Arc::clone(&order));
            stage.spawn(name, async move {
                stop.cancelled().await;
                tokio::task::yield_now().await;
                order.lock().push(name);
            });
            stages.push(stage);
        }
        assert!(stages.stop(Duration::from_secs(5)).await.is_empty());
        assert_eq!(*order.lock(), ["first", "second"]);
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_is_named() {
        let mut stage = Stage::new("stage");
        stage.spawn("deaf", std::future::pending());
        let mut stages = Stages::default();
        stages.push(stage);
        assert_eq!(stages.stop(Duration::from_millis(1)).await, ["deaf"]);
    }
}
