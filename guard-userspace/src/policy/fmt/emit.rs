//! The tree as canonical text.

use super::comments::{Around, Comments};
use crate::policy::words::{Object, POLICY, Shape};
use crate::policy::yaml::{Data, Node};

/// Longest line that stays in one piece.
const WIDTH: usize = 100;

pub(super) fn document(root: &Node, comments: &mut Comments) -> String {
    let mut out = Out::default();
    let head = std::mem::take(&mut comments.head);
    head.iter().for_each(|line| out.line(0, line));
    out.map(root, Some(&Shape::Object(&POLICY)), 0, comments, None);
    let foot = std::mem::take(&mut comments.foot);
    foot.iter().for_each(|line| out.line(0, line));
    out.text
}

#[derive(Debug, Default)]
struct Out {
    text: String,
}

impl Out {
    fn line(&mut self, indent: usize, text: &str) {
        self.text.extend(std::iter::repeat_n(' ', indent));
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    fn above(&mut self, around: &Around, indent: usize) {
        if around.apart && !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
        around.above.iter().for_each(|line| self.line(indent, line));
    }

    /// The entries of a mapping, each on lines of its own. `lead` is what the first line begins with instead of its
    /// indentation (`- ` of a list item), together with what stands beside that item.
    fn map(
        &mut self,
        node: &Node,
        shape: Option<&Shape>,
        indent: usize,
        comments: &mut Comments,
        lead: Option<Option<String>>,
    ) {
        let Data::Map(entries) = &node.data else { return };
        let (object, named) = match shape {
            Some(Shape::Object(object)) => (Some(*object), None),
            Some(Shape::Named(object)) => (None, Some(Shape::Object(object))),
            _ => (None, None),
        };
        let mut lead = lead;
        for (key, value) in ordered(entries, object) {
            let inner = object.and_then(|object| object.key(&key.0)).map(|key| key.shape).or(named.as_ref());
            let mut around = comments.take(key.1);
            let mut indent_now = indent;
            let mut start = scalar(&key.0, false, false);
            if let Some(beside) = lead.take() {
                // The item's own dash is on this line; comments above the key have been printed with the item.
                indent_now = indent.saturating_sub(2);
                start = format!("- {start}");
                around.beside = around.beside.or(beside);
                let moved: Vec<String> = std::mem::take(&mut around.above);
                moved.iter().for_each(|line| self.line(indent_now, line));
            } else {
                self.above(&around, indent);
            }
            self.entry(&start, value, inner, indent_now, indent, comments, &around);
            around.below.iter().for_each(|line| self.line(indent, line));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one line's parts, used once")]
    fn entry(
        &mut self,
        start: &str,
        value: &Node,
        shape: Option<&Shape>,
        indent: usize,
        body: usize,
        comments: &mut Comments,
        around: &Around,
    ) {
        let beside = beside(around);
        if let Some(flow) = one_line(value, shape, comments) {
            let text = format!("{start}: {flow}");
            if indent + text.chars().count() <= WIDTH || !is_collection(value) {
                release(value, comments);
                self.line(indent, &format!("{text}{beside}"));
                return;
            }
        }
        self.line(indent, &format!("{start}:{beside}"));
        match &value.data {
            Data::Map(_) => self.map(value, shape, body + 2, comments, None),
            Data::List(_) => self.list(value, shape, body + 2, comments),
            Data::Scalar { .. } => {}
        }
    }

    fn list(&mut self, node: &Node, shape: Option<&Shape>, indent: usize, comments: &mut Comments) {
        let Data::List(items) = &node.data else { return };
        let inner = match shape {
            Some(Shape::List(inner)) => Some(*inner),
            _ => None,
        };
        for item in items {
            let around = comments.take(item.span.start);
            self.above(&around, indent);
            let flow = one_line(item, inner, comments).filter(|_| !single_key(item));
            match flow {
                Some(flow) if indent + 2 + flow.chars().count() <= WIDTH || !is_collection(item) => {
                    release(item, comments);
                    self.line(indent, &format!("- {flow}{}", beside(&around)));
                }
                Some(_) | None => match &item.data {
                    Data::Map(entries) if !entries.is_empty() => {
                        self.map(item, inner, indent + 2, comments, Some(around.beside.clone()));
                    }
                    Data::Map(_) | Data::List(_) | Data::Scalar { .. } => {
                        let flow = flow_text(item, inner).unwrap_or_default();
                        self.line(indent, &format!("- {flow}{}", beside(&around)));
                    }
                },
            }
            around.below.iter().for_each(|line| self.line(indent, line));
        }
    }
}

fn beside(around: &Around) -> String {
    around.beside.as_ref().map_or(String::new(), |comment| format!(" {comment}"))
}

/// The comments' places inside a value that is written on one line are used up (there are no comments in them).
fn release(node: &Node, comments: &mut Comments) {
    match &node.data {
        Data::Scalar { .. } => {}
        Data::List(items) => {
            for item in items {
                comments.take(item.span.start);
                release(item, comments);
            }
        }
        Data::Map(entries) => {
            for (key, value) in entries {
                comments.take(key.span.start);
                release(value, comments);
            }
        }
    }
}

const fn is_collection(node: &Node) -> bool {
    matches!(node.data, Data::List(_) | Data::Map(_))
}

fn single_key(node: &Node) -> bool {
    matches!(&node.data, Data::Map(entries) if entries.len() == 1)
}

/// The value on one line, if nothing in it needs lines of its own: comments, or a list of mappings.
fn one_line(node: &Node, shape: Option<&Shape>, comments: &Comments) -> Option<String> {
    if let Data::Scalar { text, plain } = &node.data {
        return Some(scalar(text, *plain, false));
    }
    if is_collection(node) && comments.inside(node.span.start, node.span.end) {
        return None;
    }
    flow_text(node, shape)
}

fn flow_text(node: &Node, shape: Option<&Shape>) -> Option<String> {
    match &node.data {
        Data::Scalar { text, plain } => Some(scalar(text, *plain, true)),
        Data::List(items) => {
            let inner = match shape {
                Some(Shape::List(inner)) => Some(*inner),
                _ => None,
            };
            if items.iter().any(|item| matches!(item.data, Data::Map(_))) {
                return None;
            }
            let items: Option<Vec<String>> = items.iter().map(|item| flow_text(item, inner)).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        Data::Map(entries) => {
            let (object, named) = match shape {
                Some(Shape::Object(object)) => (Some(*object), None),
                Some(Shape::Named(object)) => (None, Some(Shape::Object(object))),
                _ => (None, None),
            };
            let entries: Option<Vec<String>> = ordered(entries, object)
                .map(|(key, value)| {
                    let inner =
                        object.and_then(|object| object.key(&key.0)).map(|key| key.shape).or(named.as_ref());
                    Some(format!("{}: {}", scalar(&key.0, true, true), flow_text(value, inner)?))
                })
                .collect();
            let entries = entries?;
            Some(if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) })
        }
    }
}

type Entry = (crate::policy::source::Spanned<String>, Node);

/// Entries in the order of the language's table; of free names, in the order of the file.
fn ordered<'a>(
    entries: &'a [Entry],
    object: Option<&Object>,
) -> impl Iterator<Item = ((String, u32), &'a Node)> {
    let place = |name: &str| {
        object.and_then(|object| object.names().position(|known| known == name)).unwrap_or(usize::MAX)
    };
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by_key(|(key, _)| place(key));
    sorted.into_iter().map(|(key, value)| ((key.value.clone(), key.span.start), value))
}

/// A scalar without quotes where no reader could take it for something else, in double quotes otherwise.
fn scalar(text: &str, plain: bool, flow: bool) -> String {
    if bare(text, plain, flow) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{85}') => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn bare(text: &str, plain: bool, flow: bool) -> bool {
    let word = |c: char| c.is_alphanumeric() || "_./+-@%=~;()'’ ".contains(c) || (c == ',' && !flow);
    let begins = text.starts_with(|c: char| c.is_alphanumeric() || c == '/' || c == '_');
    let ends = !text.ends_with(' ') && !text.contains("  ");
    let lower = text.to_lowercase();
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&lower.as_str());
    let number = text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_hexdigit() || ".xob_+-".contains(c));
    begins && ends && text.chars().all(word) && (plain || !(reserved || number))
}
