//! What can be reached from where the checklist runs, at addresses that outsiders use.

/// One of the engine's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// 6421, which answers without a token.
    Peer,
    /// 6430, which answers anything without a token.
    Metrics,
    /// The public API without TLS.
    PlainHttp,
}

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The engine itself answered.
    Engine { status: u16 },
    /// Something answered that is not the engine, with the place it sends to where it redirects.
    Other { status: u16, location: Option<String> },
    /// Refused, unreachable, or no connection within the time.
    Closed(String),
    /// The name does not resolve, a connection without an answer and the like: nothing follows from it.
    Undecided(String),
}

/// A try of one door at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub door: Door,
    pub url: String,
    pub reach: Reach,
}

/// All tries.
#[derive(Clone, Debug, Default)]
pub struct OutsideSeen {
    pub attempts: Vec<Attempt>,
    /// Doors that answer on an address of this machine besides loopback, with that address.
    pub on_this_machine: Vec<(Door, String)>,
    /// Why no address of outsiders was tried.
    pub not_tried: Option<String>,
}

impl OutsideSeen {
    /// The tries of one door.
    pub fn of(&self, door: Door) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(move |a| a.door == door)
    }
}
