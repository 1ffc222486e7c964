//! Where registers are mentioned, and when each is needed next.

use super::machine::{Item, Reg, Role};

/// A place where a register is mentioned.
#[derive(Clone, Copy)]
struct Mention {
    at: usize,
    reads: bool,
    writes: bool,
}

/// A loop: the positions of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    pub begin: usize,
    pub end: usize,
}

impl Span {
    fn contains(self, at: usize) -> bool {
        (self.begin..=self.end).contains(&at)
    }
}

/// How far away a use is: the number of loops to leave, then a position.
pub type Distance = (usize, usize);

pub struct Lives {
    /// By the number of the register; no two registers, of whatever class, have one number.
    mentions: Vec<Vec<Mention>>,
    /// Where each is mentioned last, or the end of a loop that needs it again.
    ends: Vec<usize>,
    spans: Vec<Span>,
}

impl Lives {
    pub fn of(items: &[Item]) -> Lives {
        let mut lives = Lives { mentions: vec![], ends: vec![], spans: spans(items) };
        let mut around = Vec::new();
        let mut spans = 0;
        for (at, item) in items.iter().enumerate() {
            if *item == Item::Begin {
                around.push(lives.spans[spans]);
                spans += 1;
            }
            item.each_register(|reg, role| lives.mention(reg, role, at, &around));
            if matches!(item, Item::End { .. }) {
                around.pop();
            }
        }
        lives
    }

    fn mention(&mut self, reg: Reg, role: Role, at: usize, around: &[Span]) {
        if self.mentions.len() <= reg.index() {
            self.mentions.resize_with(reg.index() + 1, Vec::new);
            self.ends.resize(reg.index() + 1, 0);
        }
        let mentions = &mut self.mentions[reg.index()];
        match mentions.last_mut().filter(|last| last.at == at) {
            Some(last) => {
                last.reads |= role != Role::Define;
                last.writes |= role != Role::Use;
            }
            None => mentions.push(Mention { at, reads: role != Role::Define, writes: role != Role::Use }),
        }
        let start = mentions[0].at;
        let again = around.iter().find(|span| span.begin > start).map_or(at, |span| span.end);
        self.ends[reg.index()] = self.ends[reg.index()].max(again);
    }

    /// One more than the highest number of a register.
    pub fn count(&self) -> usize {
        self.mentions.len()
    }

    pub fn end(&self, reg: Reg) -> usize {
        self.ends[reg.index()]
    }

    /// The loop that begins there.
    pub fn span(&self, begin: usize) -> Option<Span> {
        let at = self.spans.binary_search_by_key(&begin, |span| span.begin).ok()?;
        Some(self.spans[at])
    }

    fn first_from(&self, reg: Reg, at: usize) -> Option<Mention> {
        let mentions = &self.mentions[reg.index()];
        mentions.get(mentions.partition_point(|mention| mention.at < at)).copied()
    }

    /// Whether a loop mentions what was there before.
    pub fn goes_through(&self, reg: Reg, span: Span) -> bool {
        self.mentions[reg.index()][0].at < span.begin
            && self.first_from(reg, span.begin).is_some_and(|mention| span.contains(mention.at))
    }

    pub fn is_written_in(&self, reg: Reg, span: Span) -> bool {
        let within = |mention: &&Mention| span.contains(mention.at);
        self.mentions[reg.index()].iter().filter(within).any(|mention| mention.writes)
    }

    /// Whether a register is mentioned again in this turn of the innermost loop.
    pub fn is_next_within(&self, reg: Reg, at: usize, innermost: Option<Span>) -> bool {
        let next = self.first_from(reg, at + 1);
        next.is_some_and(|next| innermost.is_none_or(|span| next.at <= span.end))
    }

    /// Whether the value there is not read any more, but replaced in this turn.
    pub fn is_replaced(&self, reg: Reg, at: usize, innermost: Option<Span>) -> bool {
        self.is_next_within(reg, at, innermost)
            && self.first_from(reg, at + 1).is_some_and(|mention| !mention.reads)
    }

    /// Whether a register is written more than once.
    pub fn is_variable(&self, reg: Reg) -> bool {
        self.mentions[reg.index()].iter().filter(|mention| mention.writes).nth(1).is_some()
    }

    /// Whether a loop has not mentioned a register before `at`.
    pub fn is_untouched(&self, reg: Reg, span: Span, at: usize) -> bool {
        self.first_from(reg, span.begin).is_none_or(|mention| mention.at >= at)
    }

    /// How far away the next mention is, seen from inside loops: the next turn is near, what comes behind a loop is far.
    pub fn distance(&self, reg: Reg, at: usize, around: impl DoubleEndedIterator<Item = Span>) -> Distance {
        let next = self.first_from(reg, at + 1).map(|mention| mention.at);
        let mut level = 0;
        for span in around.rev() {
            if let Some(next) = next.filter(|&next| next <= span.end) {
                return (level, next);
            }
            if self.goes_through(reg, span)
                && let Some(first) = self.first_from(reg, span.begin)
            {
                return (level, span.end + first.at - span.begin);
            }
            level += 1;
        }
        (level, next.unwrap_or(usize::MAX))
    }

    /// What a loop mentions of what was there before, by the first mention.
    pub fn through(&self, items: &[Item], span: Span) -> Vec<Reg> {
        let mut through = Vec::new();
        for (at, item) in items.iter().enumerate().take(span.end + 1).skip(span.begin) {
            item.each_register(|reg, _| {
                let is_first = self.first_from(reg, span.begin).is_some_and(|mention| mention.at == at);
                // One item may mention a register twice.
                let is_known = through.iter().rev().take(5).any(|&known| known == reg);
                if is_first && !is_known && self.goes_through(reg, span) {
                    through.push(reg);
                }
            });
        }
        through
    }
}

/// All loops, by their start.
fn spans(items: &[Item]) -> Vec<Span> {
    let (mut open, mut spans) = (Vec::new(), Vec::new());
    for (at, item) in items.iter().enumerate() {
        match item {
            Item::Begin => {
                open.push(spans.len());
                spans.push(Span { begin: at, end: at });
            }
            Item::End { .. } => {
                if let Some(span) = open.pop() {
                    spans[span].end = at;
                }
            }
            _ => {}
        }
    }
    spans
}
