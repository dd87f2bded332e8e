//! The ids that an answer is owed to, in the form in which they came

use alloc::vec::Vec;

/// Longest id, in bytes as it came
pub(super) const MAX_ID: usize = 1024;

/// Stands for no place and no batch
pub(super) const NONE: u32 = u32::MAX;

/// The ids of the peer's requests, one place each; the places are used again
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "_test", derive(Hash))]
pub(super) struct Owed {
    places: Vec<Place>,
    /// Places that are free; the last is taken next
    free: Vec<u32>,
}

/// One id
#[derive(Clone, Debug)]
#[cfg_attr(feature = "_test", derive(Hash))]
struct Place {
    /// The id while it is short, as most are
    short: [u8; SHORT],
    /// The id when it is not; kept for the next long one
    long: Vec<u8>,
    len: u16,
    taken: bool,
    /// Its request had the form of version 1.0
    old: bool,
    /// The batch that its answer belongs to
    batch: u32,
}

const SHORT: usize = 24;

impl Owed {
    /// Writes an id into the place that is taken next, and names the place; repeated, it writes over what was there
    #[inline]
    pub(super) fn propose(&mut self, id: &[u8], old: bool, batch: u32) -> u32 {
        let key = match self.free.last() {
            Some(key) => *key,
            None => self.grow(),
        };
        if let Some(place) = self.places.get_mut(key as usize) {
            place.len = id.len() as u16;
            (place.old, place.batch) = (old, batch);
            match place.short.get_mut(..id.len()) {
                Some(short) => short.copy_from_slice(id),
                None => {
                    place.long.clear();
                    place.long.extend_from_slice(id);
                }
            }
        }
        key
    }

    /// Takes the place that was proposed last
    #[inline]
    pub(super) fn accept(&mut self) {
        if let Some(key) = self.free.pop()
            && let Some(place) = self.places.get_mut(key as usize)
        {
            place.taken = true;
        }
    }

    /// Gives a place back
    #[inline]
    pub(super) fn release(&mut self, key: u32) {
        if let Some(place) = self.places.get_mut(key as usize)
            && place.taken
        {
            place.taken = false;
            self.free.push(key);
        }
    }

    /// The id of a place, whether its request had the form of version 1.0, and its batch
    #[inline]
    pub(super) fn get(&self, key: u32) -> Option<(&[u8], bool, u32)> {
        let place = self.places.get(key as usize)?;
        Some((place.id(), place.old, place.batch))
    }

    /// The place of an id that is owed an answer; of several with that id the one taken first, as far as places tell
    pub(super) fn find(&self, id: &[u8]) -> Option<u32> {
        self.places.iter().position(|place| place.taken && place.id() == id).map(|key| key as u32)
    }

    #[cold]
    fn grow(&mut self) -> u32 {
        let key = self.places.len() as u32;
        self.places.push(Place {
            short: [0; SHORT],
            long: Vec::new(),
            len: 0,
            taken: false,
            old: false,
            batch: NONE,
        });
        self.free.push(key);
        key
    }
}

impl Place {
    #[inline]
    fn id(&self) -> &[u8] {
        let len = usize::from(self.len);
        self.short.get(..len).unwrap_or(&self.long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_may_be_repeated_and_places_are_used_again() {
        let mut owed = Owed::default();
        let first = owed.propose(b"1", false, NONE);
        assert_eq!(owed.find(b"1"), None, "only proposed");
        assert_eq!(owed.propose(b"2", true, 7), first);
        owed.accept();
        assert_eq!(owed.get(first), Some((&b"2"[..], true, 7)));
        assert_eq!(owed.find(b"2"), Some(first));
        let long = [b'9'; 1000];
        let second = owed.propose(&long, false, NONE);
        owed.accept();
        assert_ne!(second, first);
        assert_eq!(owed.get(second).map(|(id, ..)| id), Some(&long[..]));
        owed.release(first);
        owed.release(first);
        assert_eq!(owed.propose(b"3", false, NONE), first);
        owed.accept();
        let third = owed.propose(b"4", false, NONE);
        assert!(third != first && third != second, "given back once");
    }
}
