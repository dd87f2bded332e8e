//! The calls of a connection that somebody waits for: where a call's waker and then its outcome lie
//!
//! The index of a call's place travels through the connection as its tag, so nothing is looked up, and places are used
//! again, so nothing is allocated per call.

use core::task::{Poll, Waker};

use flyrpc_core::CallId;

use crate::{Error, Outcome};

/// What became of a call or ping
#[derive(Debug)]
pub(crate) enum Done {
    /// An answer: the payload, or the error
    Answer(Outcome),
    /// A ping came back with this many bytes
    Pong(u64),
    Failed(Error),
}

impl Done {
    /// What became of a call
    pub(crate) fn into_outcome(self) -> Result<Outcome, Error> {
        match self {
            Self::Answer(outcome) => Ok(outcome),
            Self::Failed(error) => Err(error),
            // A call is no ping.
            Self::Pong(_) => Err(Error::Cancelled),
        }
    }
}

#[derive(Debug)]
enum Place {
    Free {
        next: u32,
    },
    Waiting {
        call: Option<CallId>,
        waker: Waker,
    },
    Done(Done),
    /// Nobody waits any more; the connection still has its tag
    Abandoned,
}

#[derive(Debug)]
pub(crate) struct Calls {
    places: Vec<Place>,
    free: u32,
}

const NONE: u32 = u32::MAX;

impl Calls {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: NONE }
    }

    /// A place for a call that is about to be made
    pub(crate) fn reserve(&mut self, waker: Waker) -> u32 {
        let place = Place::Waiting { call: None, waker };
        match self.places.get_mut(self.free as usize) {
            Some(free) => {
                let index = self.free;
                if let Place::Free { next } = *free {
                    self.free = next;
                }
                *free = place;
                index
            }
            None => {
                self.places.push(place);
                (self.places.len() - 1) as u32
            }
        }
    }

    /// The call was made
    pub(crate) fn made(&mut self, index: u32, id: CallId) {
        if let Some(Place::Waiting { call, .. }) = self.places.get_mut(index as usize) {
            *call = Some(id);
        }
    }

    /// Puts the outcome in; whom to wake
    #[inline]
    pub(crate) fn finish(&mut self, index: u32, done: Done) -> Option<Waker> {
        let place = self.places.get_mut(index as usize)?;
        if let Place::Waiting { waker, .. } = place {
            let waker = core::mem::replace(waker, Waker::noop().clone());
            *place = Place::Done(done);
            return Some(waker);
        }
        // Else nobody waits there: the connection gives each tag back once.
        if let Place::Abandoned = place {
            *place = Place::Free { next: self.free };
            self.free = index;
        }
        None
    }

    /// The outcome, if it is there; the place is then free
    pub(crate) fn poll(&mut self, index: u32, waiting: &Waker) -> Poll<Done> {
        match self.places.get_mut(index as usize) {
            Some(Place::Waiting { waker, .. }) => {
                waker.clone_from(waiting);
                Poll::Pending
            }
            Some(place @ Place::Done(_)) => {
                let done = core::mem::replace(place, Place::Free { next: self.free });
                self.free = index;
                match done {
                    Place::Done(done) => Poll::Ready(done),
                    Place::Free { .. } | Place::Waiting { .. } | Place::Abandoned => Poll::Pending,
                }
            }
            Some(Place::Free { .. } | Place::Abandoned) | None => Poll::Pending,
        }
    }

    /// Nobody waits at this place any more, whose call was not made, or is over, or is `cancelled` here; where the
    /// connection does not give the tag back now, the place is free when it does
    pub(crate) fn release(&mut self, index: u32, cancel: impl FnOnce(CallId) -> bool) {
        let Some(place) = self.places.get_mut(index as usize) else { return };
        let free = match place {
            Place::Waiting { call: Some(call), .. } => cancel(*call),
            Place::Waiting { call: None, .. } | Place::Done(_) => true,
            Place::Free { .. } | Place::Abandoned => return,
        };
        if free {
            *place = Place::Free { next: self.free };
            self.free = index;
        } else {
            *place = Place::Abandoned;
        }
    }

    /// Places in use
    #[cfg(feature = "_test")]
    pub(crate) fn in_use(&self) -> usize {
        self.places.iter().filter(|place| !matches!(place, Place::Free { .. })).count()
    }

    /// Gives the memory back while nothing is in use
    pub(crate) fn shrink(&mut self) {
        if self.places.len() > KEPT && self.places.iter().all(|place| matches!(place, Place::Free { .. })) {
            *self = Self::new();
        }
    }
}

/// Places that an idle connection keeps
const KEPT: usize = 16;
