//! Which comment belongs to which key or item.

use std::collections::BTreeMap;

use crate::policy::yaml::{Comment, Data, Node};

/// What stands around one key or item.
#[derive(Debug, Default, Clone)]
pub(super) struct Around {
    /// Lines of their own above it.
    pub(super) above: Vec<String>,
    /// At the end of its first line.
    pub(super) beside: Option<String>,
    /// Lines of their own below it, at its indentation.
    pub(super) below: Vec<String>,
    /// An empty line stood above it (and above its comments).
    pub(super) apart: bool,
}

#[derive(Debug, Default)]
pub(super) struct Comments {
    /// By where the key or item begins.
    around: BTreeMap<u32, Around>,
    pub(super) head: Vec<String>,
    pub(super) foot: Vec<String>,
}

/// Where a key or item begins.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    start: u32,
    line: u32,
    column: u32,
}

impl Comments {
    pub(super) fn place(text: &str, root: &Node, comments: &[Comment]) -> Self {
        let mut anchors = Vec::new();
        collect(root, &mut anchors);
        anchors.sort_by_key(|anchor| anchor.start);
        anchors.dedup_by_key(|anchor| anchor.start);
        let mut placed = Self::default();
        for comment in comments {
            placed.one(text, comment, &anchors);
        }
        let lines: Vec<&str> = text.split('\n').collect();
        for anchor in &anchors {
            let around = placed.around.entry(anchor.start).or_default();
            let above = around.above.len() + 2;
            let before = (anchor.line as usize).checked_sub(above).and_then(|index| lines.get(index));
            around.apart = before.is_some_and(|line| line.trim().is_empty());
        }
        placed
    }

    fn one(&mut self, text: &str, comment: &Comment, anchors: &[Anchor]) {
        let span = comment.span;
        let written = text.get(span.start as usize..span.end as usize).unwrap_or("").trim_end().to_owned();
        let next = anchors.iter().find(|anchor| anchor.start > span.start);
        let last = anchors.iter().rev().find(|anchor| anchor.start < span.start);
        if comment.trailing {
            let beside =
                anchors.iter().find(|anchor| anchor.line == span.line && anchor.start < span.start).or(last);
            match beside {
                // A line's end has room for one comment; a second goes above.
                Some(anchor) => {
                    let around = self.around.entry(anchor.start).or_default();
                    if around.beside.is_some() {
                        around.above.push(written)
                    } else {
                        around.beside = Some(written)
                    }
                }
                None => self.head.push(written),
            }
            return;
        }
        let Some(last) = last else {
            self.head.push(written);
            return;
        };
        // Deeper than what follows: it closes the block above.
        let closes = next.is_none_or(|next| span.column > next.column) && span.column > 1;
        if closes {
            let host =
                anchors.iter().rev().find(|anchor| anchor.start < span.start && anchor.column <= span.column);
            let host = host.unwrap_or(last).start;
            self.around.entry(host).or_default().below.push(written);
            return;
        }
        match next {
            Some(next) => self.around.entry(next.start).or_default().above.push(written),
            None => self.foot.push(written),
        }
    }

    /// What stands around the key or item that begins here; each is handed out once.
    pub(super) fn take(&mut self, start: u32) -> Around {
        self.around.remove(&start).unwrap_or_default()
    }

    /// Whether a comment is attached to anything inside, the beginning left out.
    pub(super) fn inside(&self, start: u32, end: u32) -> bool {
        self.around.range(start.saturating_add(1)..end).any(|(_, around)| {
            !around.above.is_empty() || around.beside.is_some() || !around.below.is_empty()
        })
    }
}

fn collect(node: &Node, anchors: &mut Vec<Anchor>) {
    match &node.data {
        Data::Scalar { .. } => {}
        Data::List(items) => {
            for item in items {
                anchors.push(Anchor {
                    start: item.span.start,
                    line: item.span.line,
                    column: item.span.column,
                });
                collect(item, anchors);
            }
        }
        Data::Map(entries) => {
            for (key, value) in entries {
                anchors.push(Anchor { start: key.span.start, line: key.span.line, column: key.span.column });
                collect(value, anchors);
            }
        }
    }
}
