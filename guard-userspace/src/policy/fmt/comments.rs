//! Which comment belongs to which key or item.

use std::collections::BTreeMap;

use crate::policy::source::Span;
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
    /// Of its dash, if it is an item behind one.
    column: u32,
    /// The first on its line.
    leads: bool,
}

impl Comments {
    pub(super) fn place(text: &str, root: &Node, comments: &[Comment]) -> Self {
        let mut anchors = Vec::new();
        collect(text, root, &mut anchors);
        anchors.sort_by_key(|anchor| anchor.start);
        anchors.dedup_by_key(|anchor| anchor.start);
        let mut line = 0;
        for anchor in &mut anchors {
            anchor.leads = anchor.line != line;
            line = anchor.line;
        }
        let mut placed = Self::default();
        for comment in comments {
            placed.one(text, comment, &anchors);
        }
        let lines: Vec<&str> = text.split('\n').collect();
        for anchor in anchors.iter().filter(|anchor| anchor.leads) {
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
        if last.is_none() {
            self.head.push(written);
            return;
        }
        // Deeper than what follows: it closes the block above, at the depth of something in that block.
        let outer = next.map_or(1, |next| next.column);
        let mut before = anchors.iter().rev().filter(|anchor| anchor.leads && anchor.start < span.start);
        let host = before.find(|anchor| anchor.column <= span.column);
        if let Some(host) = host.filter(|host| host.column > outer) {
            self.around.entry(host.start).or_default().below.push(written);
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

    /// Whether a comment is attached to anything inside that has not been handed out.
    pub(super) fn inside(&self, start: u32, end: u32) -> bool {
        self.around.range(start..end).any(|(_, around)| {
            !around.above.is_empty() || around.beside.is_some() || !around.below.is_empty()
        })
    }
}

fn collect(text: &str, node: &Node, anchors: &mut Vec<Anchor>) {
    let anchor = |span: Span, back: u32| Anchor {
        start: span.start,
        line: span.line,
        column: span.column.saturating_sub(back),
        leads: false,
    };
    match &node.data {
        Data::Scalar { .. } => {}
        Data::List(items) => {
            for item in items {
                anchors.push(anchor(item.span, behind_dash(text, item.span.start)));
                collect(text, item, anchors);
            }
        }
        Data::Map(entries) => {
            for (key, value) in entries {
                anchors.push(anchor(key.span, 0));
                collect(text, value, anchors);
            }
        }
    }
}

/// How far behind its `-` an item begins; 0 if it has none.
fn behind_dash(text: &str, start: u32) -> u32 {
    let before = text.get(..start as usize).unwrap_or("");
    let spaces = before.len() - before.trim_end_matches(' ').len();
    let dash = before.trim_end_matches(' ').ends_with('-') && spaces > 0;
    if dash { u32::try_from(spaces + 1).unwrap_or(0) } else { 0 }
}
