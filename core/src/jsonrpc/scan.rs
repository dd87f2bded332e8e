//! The scanner: finds where a JSON value ends, whether it is one, and where the members of a message are
//!
//! One pass, without recursion and without memory of its own. Input may end anywhere: the next call with more of it goes on
//! where this one stopped, inside a string too, so that a long value that comes in pieces is read once.

/// Longest number, in characters
pub(super) const MAX_NUMBER: usize = 1024;

/// Bytes of a key or an id that are kept until it ends: as many as the longest id has
const KEPT: usize = super::owed::MAX_ID;
/// Stands for a place in what was dropped
const GONE: u32 = u32::MAX;

/// How far a value has been read
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "_test", derive(Hash))]
pub(super) struct Scan {
    /// Everything before it has been read
    at: u32,
    /// Start of the latest key or value at depth 1
    token: u32,
    /// Where each member of the outermost object is
    spans: [Span; MEMBERS],
    /// Values that the outermost array or object holds
    elements: u32,
    /// For each depth: is the container an object?
    objects: [u64; 4],
    depth: u8,
    /// A bit for each member that was there
    seen: u8,
    /// The member that the latest key at depth 1 names
    member: Option<Member>,
    state: State,
}

/// Where a value is in the text; empty for none
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "_test", derive(Hash))]
struct Span {
    start: u32,
    end: u32,
}

/// The members of a message that mean something
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "_test", derive(Hash))]
pub(super) enum Member {
    Version,
    Method,
    Params,
    Id,
    Result,
    Error,
}

const MEMBERS: usize = 6;

/// What a call of the scanner came to
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A value, which ends here
    Done(usize),
    /// The input ends inside the value
    More,
    /// Not JSON, or beyond a limit, from here on
    Bad(usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "_test", derive(Hash))]
enum State {
    /// A value
    #[default]
    Value,
    /// A value, or the end of the array
    First,
    /// A key
    Key,
    /// A key, or the end of the object
    FirstKey,
    Colon,
    /// A comma, or the end of the container
    Next,
    /// The rest of a string
    InString,
    /// The rest of a key
    InKey,
    /// The value has ended
    Done,
}

impl Scan {
    /// Goes on reading the value that `input` starts with
    ///
    /// Every call is given the same input, or more of it. `whole` says that no more will come; `max_depth` is how deep
    /// containers may be nested.
    #[inline]
    pub(super) fn run(&mut self, input: &[u8], whole: bool, max_depth: u8) -> Outcome {
        if matches!(self.state, State::InString | State::InKey | State::Done) {
            return self.resume(input, whole, max_depth);
        }
        self.read(input, whole, max_depth)
    }

    /// From inside of a string
    #[cold]
    fn resume(&mut self, input: &[u8], whole: bool, max_depth: u8) -> Outcome {
        if self.state == State::Done {
            return Outcome::Done(self.at as usize);
        }
        let at = match skip_string(input, self.at as usize) {
            Text::End(end) => end,
            Text::More(at) => return self.pause(at, self.state, whole, input),
            Text::Bad(at) => return Outcome::Bad(at),
        };
        if self.state == State::InKey {
            self.key_ended(input, at);
            self.state = State::Colon;
        } else if self.value_ended(at) {
            return self.done(at);
        } else {
            self.state = State::Next;
        }
        self.at = at as u32;
        self.read(input, whole, max_depth)
    }

    /// From between two tokens
    #[inline]
    fn read(&mut self, input: &[u8], whole: bool, max_depth: u8) -> Outcome {
        let mut at = self.at as usize;
        let mut state = self.state;
        let mut object = self.in_object();
        loop {
            let byte = loop {
                match input.get(at) {
                    Some(byte) if *byte > b' ' => break *byte,
                    Some(b' ' | b'\n' | b'\r' | b'\t') => at += 1,
                    Some(byte) => break *byte,
                    None => return self.pause(at, state, whole, input),
                }
            };
            match state {
                State::Value | State::First => {
                    if self.depth == 1 {
                        self.token = at as u32;
                    }
                    let token = match byte {
                        b'"' => match skip_string(input, at + 1) {
                            Text::More(at) => return self.pause(at, State::InString, whole, input),
                            other @ (Text::End(_) | Text::Bad(_)) => other,
                        },
                        b'{' | b'[' => {
                            if self.depth >= max_depth {
                                return Outcome::Bad(at);
                            }
                            at += 1;
                            object = byte == b'{';
                            self.push(object);
                            state = if object { State::FirstKey } else { State::First };
                            continue;
                        }
                        b']' if state == State::First => {
                            self.pop();
                            object = self.in_object();
                            Text::End(at + 1)
                        }
                        b'-' | b'0'..=b'9' => skip_number(input, at, whole),
                        b't' | b'f' | b'n' => skip_word(input, at),
                        _ => return Outcome::Bad(at),
                    };
                    match token {
                        Text::End(end) => at = end,
                        Text::More(_) => return self.pause(at, state, whole, input),
                        Text::Bad(at) => return Outcome::Bad(at),
                    }
                    if self.value_ended(at) {
                        return self.done(at);
                    }
                    state = State::Next;
                    if input.get(at) == Some(&b',') {
                        at += 1;
                        state = if object { State::Key } else { State::Value };
                    }
                }
                State::Key | State::FirstKey => match byte {
                    b'"' => {
                        if self.depth == 1 {
                            if let Some((member, len)) = usual_key(input, at) {
                                self.member = Some(member);
                                at += len;
                                state = State::Value;
                                continue;
                            }
                            self.token = at as u32;
                        }
                        at = match skip_string(input, at + 1) {
                            Text::End(end) => end,
                            Text::More(at) => return self.pause(at, State::InKey, whole, input),
                            Text::Bad(at) => return Outcome::Bad(at),
                        };
                        self.key_ended(input, at);
                        state = State::Colon;
                        if input.get(at) == Some(&b':') {
                            at += 1;
                            state = State::Value;
                        }
                    }
                    b'}' if state == State::FirstKey => {
                        at += 1;
                        self.pop();
                        object = self.in_object();
                        if self.value_ended(at) {
                            return self.done(at);
                        }
                        state = State::Next;
                    }
                    _ => return Outcome::Bad(at),
                },
                State::Next => match byte {
                    b',' => {
                        at += 1;
                        state = if object { State::Key } else { State::Value };
                    }
                    b'}' | b']' if object == (byte == b'}') => {
                        at += 1;
                        self.pop();
                        object = self.in_object();
                        if self.value_ended(at) {
                            return self.done(at);
                        }
                    }
                    _ => return Outcome::Bad(at),
                },
                State::Colon if byte == b':' => {
                    at += 1;
                    state = State::Value;
                }
                // The others are dealt with in `resume`.
                State::Colon | State::Done | State::InString | State::InKey => return Outcome::Bad(at),
            }
        }
    }

    /// The raw value of a member of the outermost object, as far as it has been read
    #[inline]
    pub(super) fn get<'i>(&self, member: Member, input: &'i [u8]) -> Option<&'i [u8]> {
        let span = self.spans.get(member as usize)?;
        let raw = input.get(span.start as usize..span.end as usize)?;
        (!raw.is_empty()).then_some(raw)
    }

    /// Values that the outermost array or object holds
    pub(super) const fn elements(&self) -> u32 {
        self.elements
    }

    /// Bytes that were read
    pub(super) const fn position(&self) -> usize {
        self.at as usize
    }

    /// Has the outermost object this member, or begun it?
    pub(super) fn has(&self, member: Member) -> bool {
        self.seen >> member as u8 & 1 == 1 || self.member == Some(member)
    }

    /// Bytes that may be dropped before more is read: all that were, but for a key or an id that has not ended
    pub(super) fn droppable(&self) -> usize {
        let token = match self.state {
            State::InKey => true,
            State::InString => self.member == Some(Member::Id),
            State::Value | State::First | State::Key | State::FirstKey => false,
            State::Colon | State::Next | State::Done => false,
        };
        let kept = self.at.saturating_sub(self.token) as usize;
        if token && self.depth == 1 && self.token != GONE && kept <= KEPT {
            self.token as usize
        } else {
            self.at as usize
        }
    }

    /// So many bytes of the input, all of them read, are dropped: the next call is given what is behind them
    pub(super) fn dropped(&mut self, bytes: usize) {
        let bytes = bytes as u32;
        self.at = self.at.saturating_sub(bytes);
        // What begins in them can't be read any more: it is put where no input reaches.
        self.token = if self.token == GONE { GONE } else { self.token.checked_sub(bytes).unwrap_or(GONE) };
        for span in &mut self.spans {
            *span = match span.start.checked_sub(bytes) {
                Some(start) if span.start != GONE => Span { start, end: span.end.saturating_sub(bytes) },
                _ => Span::default(),
            };
        }
    }

    #[inline]
    fn done(&mut self, at: usize) -> Outcome {
        self.at = at as u32;
        self.state = State::Done;
        Outcome::Done(at)
    }

    #[cold]
    fn pause(&mut self, at: usize, state: State, whole: bool, input: &[u8]) -> Outcome {
        if whole {
            return Outcome::Bad(input.len());
        }
        self.at = at as u32;
        self.state = state;
        Outcome::More
    }

    #[inline]
    fn push(&mut self, object: bool) {
        let (word, bit) = place(self.depth);
        if let Some(word) = self.objects.get_mut(word) {
            *word = *word & !(1 << bit) | u64::from(object) << bit;
        }
        self.depth += 1;
    }

    #[inline]
    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    #[inline]
    fn in_object(&self) -> bool {
        let (word, bit) = place(self.depth.wrapping_sub(1));
        self.depth > 0 && self.objects.get(word).is_some_and(|word| word >> bit & 1 == 1)
    }

    /// True when it was the outermost
    #[inline]
    fn value_ended(&mut self, at: usize) -> bool {
        if self.depth == 1 {
            self.elements += 1;
            if let Some(member) = self.member.take()
                && let Some(span) = self.spans.get_mut(member as usize)
            {
                self.seen |= 1 << member as u8;
                *span = Span { start: self.token, end: at as u32 };
            }
        }
        self.depth == 0
    }

    #[inline]
    fn key_ended(&mut self, input: &[u8], at: usize) {
        if self.depth == 1 {
            let key = input.get((self.token as usize).saturating_add(1)..at - 1).unwrap_or_default();
            self.member = member_of(key);
        }
    }
}

/// Word and bit of a depth
#[inline]
const fn place(depth: u8) -> (usize, u32) {
    (depth as usize / 64, depth as u32 % 64)
}

/// A key as most write it, with its quotes and the colon behind it, by its first eight bytes
#[inline]
fn usual_key(input: &[u8], at: usize) -> Option<(Member, usize)> {
    const fn word(bytes: &[u8; 8]) -> u64 {
        u64::from_le_bytes(*bytes)
    }
    const VERSION: u64 = word(b"\"jsonrpc");
    const METHOD: u64 = word(b"\"method\"");
    const PARAMS: u64 = word(b"\"params\"");
    const RESULT: u64 = word(b"\"result\"");
    const ERROR: u64 = word(b"\"error\":");
    const ID: u64 = word(b"\"id\":\0\0\0");
    const ID_MASK: u64 = (1 << 40) - 1;
    let rest = input.get(at..)?;
    let first = u64::from_le_bytes(*rest.first_chunk::<8>()?);
    let (member, len) = match first {
        VERSION if rest.get(8) == Some(&b'"') => (Member::Version, 10),
        METHOD => (Member::Method, 9),
        PARAMS => (Member::Params, 9),
        RESULT => (Member::Result, 9),
        ERROR => (Member::Error, 8),
        _ if first & ID_MASK == ID => (Member::Id, 5),
        _ => return None,
    };
    (rest.get(len - 1) == Some(&b':')).then_some((member, len))
}

#[inline]
fn member_of(key: &[u8]) -> Option<Member> {
    match key {
        b"jsonrpc" => Some(Member::Version),
        b"method" => Some(Member::Method),
        b"params" => Some(Member::Params),
        b"id" => Some(Member::Id),
        b"result" => Some(Member::Result),
        b"error" => Some(Member::Error),
        _ if key.contains(&b'\\') => escaped_member_of(key),
        _ => None,
    }
}

#[cold]
fn escaped_member_of(key: &[u8]) -> Option<Member> {
    let names: [(&[u8], Member); MEMBERS] = [
        (b"jsonrpc", Member::Version),
        (b"method", Member::Method),
        (b"params", Member::Params),
        (b"id", Member::Id),
        (b"result", Member::Result),
        (b"error", Member::Error),
    ];
    names.into_iter().find(|(name, _)| super::text::is(key, name)).map(|(_, member)| member)
}

/// How far one token reaches
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    End(usize),
    /// The input ends inside it; reading may go on here
    More(usize),
    Bad(usize),
}

/// Reads a string from somewhere inside to behind its closing quote
#[inline]
fn skip_string(input: &[u8], mut at: usize) -> Text {
    loop {
        at = skip_plain(input, at);
        match input.get(at) {
            Some(b'"') => return Text::End(at + 1),
            None => return Text::More(at),
            Some(b'\\') => match skip_escape(input, at) {
                Text::End(end) => at = end,
                other @ (Text::More(_) | Text::Bad(_)) => return other,
            },
            Some(0x80..) => match skip_wide(input, at) {
                Text::End(end) => at = end,
                other @ (Text::More(_) | Text::Bad(_)) => return other,
            },
            // A control character.
            Some(_) => return Text::Bad(at),
        }
    }
}

/// To the next byte that is a quote, a backslash, a control character, or not ASCII; eight at a time
#[inline]
fn skip_plain(input: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    while let Some(chunk) = input.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        // The lowest bit that is set is exact; those above it may be carried over.
        let found = (word.wrapping_sub(ONES * 0x20) & !word
            | quote.wrapping_sub(ONES) & !quote
            | backslash.wrapping_sub(ONES) & !backslash
            | word)
            & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while let Some(byte) = input.get(at)
        && !matches!(byte, b'"' | b'\\' | ..0x20 | 0x80..)
    {
        at += 1;
    }
    at
}

fn skip_escape(input: &[u8], at: usize) -> Text {
    match input.get(at + 1) {
        None => Text::More(at),
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Text::End(at + 2),
        Some(b'u') => {
            for place in at + 2..at + 6 {
                match input.get(place) {
                    None => return Text::More(at),
                    Some(byte) if byte.is_ascii_hexdigit() => {}
                    Some(_) => return Text::Bad(place),
                }
            }
            Text::End(at + 6)
        }
        Some(_) => Text::Bad(at + 1),
    }
}

/// Bytes that are not ASCII, up to the next that is
fn skip_wide(input: &[u8], at: usize) -> Text {
    // In pieces, so that the text behind is not looked at before its turn.
    let rest = input.get(at..).unwrap_or_default();
    let len = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
    match core::str::from_utf8(rest.get(..len).unwrap_or_default()) {
        Ok(_) => Text::End(at + len),
        Err(error) if error.error_len().is_none() && len == rest.len() => {
            // A character is cut by the end of the input.
            Text::More(at + error.valid_up_to())
        }
        Err(error) => Text::Bad(at + error.valid_up_to()),
    }
}

#[inline]
fn skip_number(input: &[u8], start: usize, whole: bool) -> Text {
    let digits = |mut at: usize| {
        while input.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let cut = |at: usize| {
        if at - start > MAX_NUMBER {
            Text::Bad(start + MAX_NUMBER)
        } else if at < input.len() || whole {
            Text::Bad(at)
        } else {
            Text::More(start)
        }
    };
    let mut at = start + usize::from(input.get(start) == Some(&b'-'));
    at = match input.get(at) {
        Some(b'0') => at + 1,
        Some(b'1'..=b'9') => digits(at),
        _ => return cut(at),
    };
    if input.get(at) == Some(&b'.') {
        let end = digits(at + 1);
        if end == at + 1 {
            return cut(end);
        }
        at = end;
    }
    if matches!(input.get(at), Some(b'e' | b'E')) {
        at += 1;
        at += usize::from(matches!(input.get(at), Some(b'+' | b'-')));
        let end = digits(at);
        if end == at {
            return cut(end);
        }
        at = end;
    }
    if at - start > MAX_NUMBER {
        Text::Bad(start + MAX_NUMBER)
    } else if at == input.len() && !whole {
        Text::More(start)
    } else {
        Text::End(at)
    }
}

#[inline]
fn skip_word(input: &[u8], start: usize) -> Text {
    let word: &[u8] = match input.get(start) {
        Some(b't') => b"true",
        Some(b'f') => b"false",
        _ => b"null",
    };
    let rest = input.get(start..).unwrap_or_default();
    if rest.starts_with(word) {
        return Text::End(start + word.len());
    }
    let same = rest.iter().zip(word).take_while(|(a, b)| a == b).count();
    if same == rest.len() { Text::More(start) } else { Text::Bad(start + same) }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
