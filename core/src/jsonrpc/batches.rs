//! Batches of the peer's whose answers are being collected

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// The batches that are not answered yet; their places are used again
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "_test", derive(Hash))]
pub(super) struct Batches {
    places: Vec<Batch>,
    free: Vec<u32>,
    /// Those that are complete and wait to be sent
    due: VecDeque<u32>,
    /// Bytes of all answers
    held: usize,
}

#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "_test", derive(Hash))]
struct Batch {
    /// The answers so far, with commas between them
    answers: Vec<u8>,
    /// Answers that are still owed
    owed: u32,
    /// Elements are still to be read
    open: bool,
}

/// Answers beyond it do not keep their memory for the next batch, in bytes
const KEPT: usize = 1024;

impl Batches {
    /// A new batch
    pub(super) fn open(&mut self) -> u32 {
        let key = self.free.pop().unwrap_or_else(|| {
            self.places.push(Batch::default());
            self.places.len() as u32 - 1
        });
        if let Some(batch) = self.places.get_mut(key as usize) {
            batch.open = true;
        }
        key
    }

    /// One more answer is owed
    pub(super) fn owe(&mut self, key: u32) {
        if let Some(batch) = self.places.get_mut(key as usize) {
            batch.owed += 1;
        }
    }

    /// All elements have been read
    pub(super) fn close(&mut self, key: u32) {
        if let Some(batch) = self.places.get_mut(key as usize) {
            batch.open = false;
        }
        self.settle(key);
    }

    /// Adds an answer that nobody had counted on, to an element that is no request
    pub(super) fn add(&mut self, key: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(batch) = self.places.get_mut(key as usize) else { return };
        let before = batch.answers.len();
        if before > 0 {
            batch.answers.push(b',');
        }
        write(&mut batch.answers);
        self.held += batch.answers.len() - before;
    }

    /// An answer that was owed has been added, or will not come
    pub(super) fn settle_one(&mut self, key: u32) {
        if let Some(batch) = self.places.get_mut(key as usize) {
            batch.owed = batch.owed.saturating_sub(1);
        }
        self.settle(key);
    }

    /// Would one answer more make the batch complete?
    pub(super) fn is_last(&self, key: u32) -> bool {
        self.places.get(key as usize).is_some_and(|batch| !batch.open && batch.owed == 1)
    }

    /// The answers of a batch
    pub(super) fn answers(&self, key: u32) -> &[u8] {
        self.places.get(key as usize).map_or(&[], |batch| &batch.answers)
    }

    /// Takes the last answer of a batch back
    pub(super) fn cut(&mut self, key: u32, len: usize) {
        if let Some(batch) = self.places.get_mut(key as usize) {
            self.held -= batch.answers.len() - len.min(batch.answers.len());
            batch.answers.truncate(len);
        }
    }

    /// The batch has been sent, or there is nothing to send
    pub(super) fn release(&mut self, key: u32) {
        if let Some(batch) = self.places.get_mut(key as usize) {
            self.held -= batch.answers.len();
            batch.answers.clear();
            batch.answers.shrink_to(KEPT);
            batch.owed = 0;
            self.free.push(key);
        }
    }

    /// The batch that is to be sent next
    #[inline]
    pub(super) fn due(&self) -> Option<u32> {
        self.due.front().copied()
    }

    /// The batch that was to be sent next is sent
    pub(super) fn sent(&mut self) {
        if let Some(key) = self.due.pop_front() {
            self.release(key);
        }
    }

    /// Bytes of all answers that wait
    #[inline]
    pub(super) const fn held(&self) -> usize {
        self.held
    }

    fn settle(&mut self, key: u32) {
        match self.places.get(key as usize) {
            Some(batch) if batch.owed > 0 || batch.open => {}
            Some(batch) if batch.answers.is_empty() => self.release(key),
            Some(_) => self.due.push_back(key),
            None => {}
        }
    }
}
