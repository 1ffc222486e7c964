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

/// All that is known of a register.
#[derive(Clone, Default)]
struct Life {
    mentions: Vec<Mention>,
    /// Where it is mentioned last, or the end of a loop that needs it again.
    end: usize,
    /// How often it is written.
    writes: usize,
}

pub struct Lives {
    /// By the number of the register; no two registers, of whatever class, have one number.
    of: Vec<Life>,
    spans: Vec<Span>,
    /// By loop: what it mentions of what was there before, by the first mention.
    through: Vec<Vec<Reg>>,
}

impl Lives {
    pub fn of(items: &[Item]) -> Lives {
        let spans = spans(items);
        let mut lives = Lives { of: vec![], through: vec![vec![]; spans.len()], spans };
        let mut around: Vec<usize> = Vec::new();
        let mut begun = 0;
        for (at, item) in items.iter().enumerate() {
            if *item == Item::Begin {
                around.push(begun);
                begun += 1;
            }
            item.each_register(|reg, role| lives.mention(reg, role, at, &around));
            if matches!(item, Item::End { .. }) {
                around.pop();
            }
        }
        lives
    }

    /// `around` are the numbers of the loops.
    fn mention(&mut self, reg: Reg, role: Role, at: usize, around: &[usize]) {
        if self.of.len() <= reg.index() {
            self.of.resize_with(reg.index() + 1, Life::default);
        }
        let life = &mut self.of[reg.index()];
        let (reads, writes) = (role != Role::Define, role != Role::Use);
        match life.mentions.last_mut() {
            Some(last) if last.at == at => {
                last.reads |= reads;
                last.writes |= writes;
            }
            last => {
                if let Some(last) = last.map(|last| last.at) {
                    let entered = around.iter().rev().take_while(|&&span| self.spans[span].begin > last);
                    entered.for_each(|&span| self.through[span].push(reg));
                }
                life.mentions.push(Mention { at, reads, writes });
            }
        }
        let start = life.mentions[0].at;
        let mut around = around.iter().map(|&span| self.spans[span]);
        let again = around.find(|span| span.begin > start).map_or(at, |span| span.end);
        life.end = life.end.max(again);
        life.writes += usize::from(writes);
    }

    /// One more than the highest number of a register.
    pub fn count(&self) -> usize {
        self.of.len()
    }

    pub fn end(&self, reg: Reg) -> usize {
        self.of[reg.index()].end
    }

    /// The loop that begins there, and what it mentions of what was there before, by the first mention.
    pub fn span(&self, begin: usize) -> Option<(Span, &[Reg])> {
        let at = self.spans.binary_search_by_key(&begin, |span| span.begin).ok()?;
        Some((self.spans[at], &self.through[at]))
    }

    fn first_from(&self, reg: Reg, at: usize) -> Option<Mention> {
        let mentions = &self.of[reg.index()].mentions;
        mentions.get(mentions.partition_point(|mention| mention.at < at)).copied()
    }

    /// Whether a loop mentions what was there before.
    pub fn goes_through(&self, reg: Reg, span: Span) -> bool {
        self.of[reg.index()].mentions[0].at < span.begin
            && self.first_from(reg, span.begin).is_some_and(|mention| span.contains(mention.at))
    }

    pub fn is_written_in(&self, reg: Reg, span: Span) -> bool {
        let within = |mention: &&Mention| span.contains(mention.at);
        self.of[reg.index()].mentions.iter().filter(within).any(|mention| mention.writes)
    }

    fn next_within(&self, reg: Reg, at: usize, innermost: Option<Span>) -> Option<Mention> {
        self.first_from(reg, at + 1).filter(|next| innermost.is_none_or(|span| next.at <= span.end))
    }

    /// Whether a register is mentioned again in this turn of the innermost loop.
    pub fn is_next_within(&self, reg: Reg, at: usize, innermost: Option<Span>) -> bool {
        self.next_within(reg, at, innermost).is_some()
    }

    /// Whether the value there is not read any more, but replaced in this turn.
    pub fn is_replaced(&self, reg: Reg, at: usize, innermost: Option<Span>) -> bool {
        self.next_within(reg, at, innermost).is_some_and(|next| !next.reads)
    }

    /// Whether a register is written more than once.
    pub fn is_variable(&self, reg: Reg) -> bool {
        self.of[reg.index()].writes > 1
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
