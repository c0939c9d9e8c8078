//! The bounded queue of requests that wait to be sent.
//!
//! In:  encoded requests.   Out: the oldest of one signal, put together up to a size.
//! Always: `accepted = sent + queued + dropped`, where a request under way counts as queued; when there is no
//! room, the oldest waiting request goes. Pure: no clock, no I/O.

use std::collections::VecDeque;

use bytes::Bytes;

/// The three signals of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    Metrics,
    Traces,
    Logs,
}

impl Signal {
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Traces, Self::Logs];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
            Self::Logs => "logs",
        }
    }
}

/// Why items were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum DropReason {
    /// Newer ones needed the room.
    QueueFull,
    /// The request alone is larger than the queue.
    TooLarge,
    /// The endpoint will never take the request.
    Refused,
    /// The endpoint took the request and named items of it that it did not keep.
    PartlyRejected,
    /// The process stopped before the queue was empty.
    Shutdown,
}

impl DropReason {
    pub(super) const ALL: [Self; 5] =
        [Self::QueueFull, Self::TooLarge, Self::Refused, Self::PartlyRejected, Self::Shutdown];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::PartlyRejected => "partly_rejected",
            Self::Shutdown => "shutdown",
        }
    }
}

/// One encoded request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub signal: Signal,
    /// The protobuf message. All three request messages hold one repeated field, so two of them in a row are one.
    pub message: Bytes,
    /// Data points, spans or log records in it.
    pub items: u64,
}

/// Running totals of one signal, in items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub accepted: u64,
    pub sent: u64,
    pub dropped: [u64; DropReason::ALL.len()],
}

#[derive(Debug)]
pub(super) struct SendQueue {
    bytes_max: usize,
    items_max: u64,
    waiting: VecDeque<Request>,
    /// Of waiting requests and of the one under way.
    bytes: usize,
    items: [u64; Signal::ALL.len()],
    totals: [Totals; Signal::ALL.len()],
}

impl SendQueue {
    pub(super) fn new(bytes_max: usize, items_max: u64) -> Self {
        Self {
            bytes_max,
            items_max,
            waiting: VecDeque::new(),
            bytes: 0,
            items: [0; Signal::ALL.len()],
            totals: [Totals::default(); Signal::ALL.len()],
        }
    }

    /// Takes a request, and drops the oldest waiting ones where it needs room.
    pub(super) fn push(&mut self, request: Request) {
        self.totals[request.signal as usize].accepted += request.items;
        if request.message.len() > self.bytes_max || request.items > self.items_max {
            self.drop_items(request.signal, request.items, DropReason::TooLarge);
            return;
        }
        while self.bytes + request.message.len() > self.bytes_max || self.queued() + request.items > self.items_max {
            match self.waiting.pop_front() {
                Some(oldest) => self.forget(&oldest, DropReason::QueueFull),
                // What is left is under way; the newcomer has to yield to it.
                None => {
                    self.drop_items(request.signal, request.items, DropReason::QueueFull);
                    return;
                }
            }
        }
        self.bytes += request.message.len();
        self.items[request.signal as usize] += request.items;
        self.waiting.push_back(request);
    }

    /// Takes out the oldest request together with those of its signal that follow at once, up to `bytes` bytes.
    ///
    /// It counts as queued until [`SendQueue::settle`] or [`SendQueue::put_back`].
    pub(super) fn take(&mut self, bytes: usize) -> Option<Request> {
        let mut request = self.waiting.pop_front()?;
        let mut joined = Vec::new();
        while let Some(next) = self.waiting.front() {
            let size = request.message.len().max(joined.len()) + next.message.len();
            if next.signal != request.signal || size > bytes {
                break;
            }
            if joined.is_empty() {
                joined.extend_from_slice(&request.message);
            }
            joined.extend_from_slice(&next.message);
            request.items += next.items;
            self.waiting.pop_front();
        }
        if !joined.is_empty() {
            request.message = joined.into();
        }
        Some(request)
    }

    /// The endpoint took the request under way, but `rejected` items of it.
    pub(super) fn settle(&mut self, request: &Request, rejected: u64) {
        let rejected = rejected.min(request.items);
        self.bytes -= request.message.len();
        self.items[request.signal as usize] -= request.items;
        self.totals[request.signal as usize].sent += request.items - rejected;
        self.drop_items(request.signal, rejected, DropReason::PartlyRejected);
    }

    /// The request under way is to be tried again later; it is the oldest.
    pub(super) fn put_back(&mut self, request: Request) {
        self.waiting.push_front(request);
    }

    /// The request under way, or one just taken out, is given up.
    pub(super) fn forget(&mut self, request: &Request, reason: DropReason) {
        self.bytes -= request.message.len();
        self.items[request.signal as usize] -= request.items;
        self.drop_items(request.signal, request.items, reason);
    }

    /// Gives up everything that waits.
    pub(super) fn clear(&mut self, reason: DropReason) {
        while let Some(request) = self.waiting.pop_front() {
            self.forget(&request, reason);
        }
    }

    fn drop_items(&mut self, signal: Signal, items: u64, reason: DropReason) {
        self.totals[signal as usize].dropped[reason as usize] += items;
    }

    /// Items waiting and under way, of all signals.
    pub(super) fn queued(&self) -> u64 {
        self.items.iter().sum()
    }

    pub(super) fn queued_of(&self, signal: Signal) -> u64 {
        self.items[signal as usize]
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn totals(&self, signal: Signal) -> Totals {
        self.totals[signal as usize]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(signal: Signal, len: usize, items: u64) -> Request {
        Request { signal, message: vec![7; len].into(), items }
    }

    #[test]
    fn the_oldest_go_when_there_is_no_room() {
        let mut queue = SendQueue::new(100, 1_000);
        for items in 1..=3 {
            queue.push(request(Signal::Metrics, 40, items));
        }
        let totals = queue.totals(Signal::Metrics);
        assert_eq!((totals.accepted, totals.dropped[DropReason::QueueFull as usize], queue.queued()), (6, 1, 5));
        queue.push(request(Signal::Logs, 101, 9));
        assert_eq!(queue.totals(Signal::Logs).dropped[DropReason::TooLarge as usize], 9);
        assert_eq!(queue.queued(), 5, "an impossible request costs nobody its place");
    }

    #[test]
    fn neighbours_of_one_signal_travel_together() {
        let mut queue = SendQueue::new(1_000, 1_000);
        for (signal, len) in [(Signal::Metrics, 10), (Signal::Metrics, 20), (Signal::Traces, 5), (Signal::Metrics, 1)] {
            queue.push(request(signal, len, 1));
        }
        let first = queue.take(100).unwrap();
        assert_eq!((first.signal, first.message.len(), first.items), (Signal::Metrics, 30, 2));
        assert_eq!(queue.queued(), 4, "what is under way is still queued");
        queue.settle(&first, 1);
        let totals = queue.totals(Signal::Metrics);
        assert_eq!((totals.sent, totals.dropped[DropReason::PartlyRejected as usize]), (1, 1));
        assert_eq!(queue.take(100).map(|r| r.signal), Some(Signal::Traces));
    }

    proptest! {
        #[test]
        fn every_item_is_accounted_for(steps in prop::collection::vec((0u8..6, 1usize..60, 0u64..20), 1..200)) {
            let mut queue = SendQueue::new(150, 60);
            let mut under_way: Option<Request> = None;
            for (step, len, items) in steps {
                match (step, under_way.take()) {
                    (0, Some(request)) => queue.settle(&request, items),
                    (1, Some(request)) => queue.put_back(request),
                    (2, Some(request)) => queue.forget(&request, DropReason::Refused),
                    (3, None) => under_way = queue.take(100),
                    (_, kept) => {
                        under_way = kept;
                        queue.push(request(Signal::ALL[len % 3], len, items));
                    }
                }
                for signal in Signal::ALL {
                    let totals = queue.totals(signal);
                    let gone: u64 = totals.sent + totals.dropped.iter().sum::<u64>();
                    prop_assert_eq!(totals.accepted, gone + queue.queued_of(signal));
                }
                prop_assert!(queue.bytes() <= 150 && queue.queued() <= 60);
            }
            if let Some(request) = under_way {
                queue.forget(&request, DropReason::Shutdown);
            }
            queue.clear(DropReason::Shutdown);
            prop_assert_eq!((queue.queued(), queue.bytes()), (0, 0));
        }
    }
}
