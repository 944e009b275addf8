//! YAML text → a tree in which every key and value knows where it stands.
//!
//! A policy is data that people review, so the parts of YAML that hide data are refused: anchors and aliases (and with
//! them exponential expansion), tags, directives, and more than one document. What remains is read as text; whether
//! `no` is a name or a boolean is for the schema to say, not for YAML.

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, StructureStyle};
use serde_yaml::granit_parser;

use super::diag::{Code, Diagnostic};
use super::parse::MAX_COLLECTED;
use super::source::{Span, Spanned};

/// Nesting of a real policy is 7 (profiles → name → section → rules → rule → paths → item).
const MAX_DEPTH: usize = 24;
/// 5,000 rules are about 100,000 nodes.
const MAX_NODES: usize = 300_000;

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) data: Data,
}

#[derive(Debug, Clone)]
pub(super) enum Data {
    Scalar {
        text: String,
        /// Without quotes, so that `8` can be a number and `true` a boolean.
        plain: bool,
    },
    List(Vec<Node>),
    /// In the order of the file, duplicates kept.
    Map(Vec<(Spanned<String>, Node)>),
}

impl Node {
    /// What it is, for messages.
    pub(super) const fn kind(&self) -> &'static str {
        match &self.data {
            Data::Scalar { .. } if self.is_null() => "nothing",
            Data::Scalar { .. } => "a single value",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }

    pub(super) const fn is_null(&self) -> bool {
        match &self.data {
            Data::Scalar { text, plain } => *plain && matches!(text.as_bytes(), b"" | b"~" | b"null"),
            Data::List(_) | Data::Map(_) => false,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Comment {
    pub(super) span: Span,
    /// Something else stands before it on its line.
    pub(super) trailing: bool,
}

/// What could be read. After a syntax error YAML cannot go on; the tree then holds what came before.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) root: Option<Node>,
    pub(super) comments: Vec<Comment>,
    pub(super) problems: Vec<Diagnostic>,
    /// The end of the document was not reached, so a missing key means nothing.
    pub(super) truncated: bool,
}

pub(super) fn read(text: &str) -> Tree {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_anchor_events: true,
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        max_buffered_comment_events: 10_000,
    };
    let mut builder = Builder { text, ..Builder::default() };
    for next in Parser::new_from_str_with_options(text, options) {
        let step = match next {
            Ok((event, span)) => {
                builder.tag = span.tag_span().map(|tag| builder.span(tag.start, tag.end));
                builder.event(event, builder.span(span.start, span.end))
            }
            Err(error) => Err(builder.syntax_error(&error)),
        };
        if let Err(problem) = step {
            builder.tree.problems.push(problem);
            builder.tree.truncated = true;
            break;
        }
    }
    builder.finish()
}

#[derive(Debug)]
enum Open {
    List(Vec<Node>, Span),
    /// The last key, while its value has not come yet.
    Map(Vec<(Spanned<String>, Node)>, Option<Spanned<String>>, Span),
}

#[derive(Debug, Default)]
struct Builder<'a> {
    text: &'a str,
    stack: Vec<Open>,
    nodes: usize,
    documents: usize,
    /// Where the tag of the current event is written.
    tag: Option<Span>,
    tree: Tree,
}

impl Builder<'_> {
    fn span(&self, start: Marker, end: Marker) -> Span {
        let limit = self.text.len();
        let first = start.byte_offset().unwrap_or(0).min(limit);
        let last = end.byte_offset().unwrap_or(first).clamp(first, limit);
        // A block scalar's span runs on to the next line; underlining stops at its last character.
        let last = first + self.text.get(first..last).map_or(0, |text| text.trim_end().len());
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span {
            start: offset(first),
            end: offset(last),
            line: offset(start.line()),
            column: offset(start.col() + 1),
        }
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        match event {
            Event::Scalar(text, style, _, tag) => {
                self.refuse_tag(tag.is_some(), span);
                let plain = style == ScalarStyle::Plain;
                self.value(Node { span, data: Data::Scalar { text: text.into_owned(), plain } })
            }
            Event::SequenceStart(_, _, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.stack.push(Open::List(Vec::new(), span));
                Ok(())
            }
            Event::MappingStart(style, _, tag) => {
                self.refuse_tag(tag.is_some(), span);
                let span =
                    if style == StructureStyle::Block { Span { end: span.start, ..span } } else { span };
                self.stack.push(Open::Map(Vec::new(), None, span));
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Anchor(..) => {
                self.hidden(span);
                Ok(())
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.hidden(span);
                self.value(Node { span, data: Data::Scalar { text: String::new(), plain: true } })
            }
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Diagnostic::new(Code::SecondDocument, span, "a second document begins here")
                        .help("put each policy into a file of its own"));
                }
                Ok(())
            }
            Event::Comment(..) => {
                let before = &self.text[..span.start as usize];
                let line = before.rsplit('\n').next().unwrap_or("");
                self.tree.comments.push(Comment { span, trailing: !line.trim().is_empty() });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn value(&mut self, node: Node) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Diagnostic::new(
                Code::TooDeep,
                node.span,
                format!("the document has more than {MAX_NODES} values"),
            )
            .help("split it into several policies; those that apply to one cgroup are joined"));
        }
        match self.stack.last_mut() {
            None => self.tree.root = Some(node),
            Some(Open::List(items, _)) => items.push(node),
            Some(Open::Map(entries, key, _)) => match key.take() {
                Some(key) => entries.push((key, node)),
                None => match node.data {
                    Data::Scalar { text, .. } => *key = Some(Spanned::new(text, node.span)),
                    Data::List(_) | Data::Map(_) => {
                        self.tree.problems.push(
                            Diagnostic::new(
                                Code::WrongType,
                                node.span,
                                format!("a key cannot be {}", node.kind()),
                            )
                            .help("write a plain word as the key"),
                        );
                        *key = Some(Spanned::new(String::new(), node.span));
                    }
                },
            },
        }
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), Diagnostic> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let flow = |span: Span| {
            self.text.as_bytes().get(span.start as usize).is_some_and(|b| matches!(b, b'[' | b'{'))
        };
        let reach = |span: Span, last: Option<Span>| {
            let end = if flow(span) { end.end } else { last.map_or(span.end, |last| last.end) };
            Span { end: end.max(span.start), ..span }
        };
        let node = match open {
            Open::List(items, span) => {
                Node { span: reach(span, items.last().map(|item| item.span)), data: Data::List(items) }
            }
            Open::Map(entries, _, span) => Node {
                span: reach(
                    span,
                    entries.last().map(
                        |(key, value)| if value.span.end > key.span.end { value.span } else { key.span },
                    ),
                ),
                data: Data::Map(entries),
            },
        };
        self.value(node)
    }

    fn refuse_tag(&mut self, tagged: bool, span: Span) {
        if tagged {
            self.hidden(self.tag.unwrap_or(span));
        }
    }

    fn hidden(&mut self, span: Span) {
        if self.tree.problems.len() < MAX_COLLECTED {
            self.tree.problems.push(Self::hidden_data(span));
        }
    }

    fn hidden_data(span: Span) -> Diagnostic {
        Diagnostic::new(
            Code::HiddenData,
            span,
            "anchors, aliases and tags are not part of the policy language",
        )
        .help("write the value out where it is meant, so that a review sees it")
    }

    fn syntax_error(&self, error: &granit_parser::ScanError) -> Diagnostic {
        let at = *error.marker();
        let mut span = self.span(at, at);
        let next = self.text[span.start as usize..].chars().next().filter(|next| *next != '\n');
        span.end += next.map_or(0, |next| u32::try_from(next.len_utf8()).unwrap_or(1));
        match error.kind() {
            ErrorKind::RecursionLimitExceeded => Diagnostic::new(
                Code::TooDeep,
                span,
                format!("the document nests deeper than {MAX_DEPTH} levels"),
            )
            .help("a policy needs seven levels at most"),
            ErrorKind::DirectiveDisallowed => Self::hidden_data(span),
            kind => {
                Diagnostic::new(Code::Syntax, span, format!("not valid YAML: {kind}")).help(syntax_help(kind))
            }
        }
    }

    /// Closes what a syntax error left open, so that everything before it can still be checked.
    fn finish(mut self) -> Tree {
        while let Some(open) = self.stack.last() {
            let end = match open {
                Open::List(_, span) | Open::Map(_, _, span) => *span,
            };
            if self.close(end).is_err() {
                self.stack.clear();
            }
        }
        self.tree
    }
}

const fn syntax_help(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation => {
            "indent with spaces; YAML takes no tabs there"
        }
        ErrorKind::MismatchedFlowCollectionEnd { .. }
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator => {
            "look for a missing `,`, `]`, `}` or quote before this place"
        }
        ErrorKind::SimpleKeyExpected | ErrorKind::ExpectedBlockMappingKey => "a line here reads `key: value`",
        _ => {
            "look at the quotes and the indentation before this place; text with special characters needs quotes"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(node: &Node, text: &str, found: &mut Vec<String>) {
        found.push(text[node.span.start as usize..node.span.end as usize].to_owned());
        match &node.data {
            Data::Scalar { .. } => {}
            Data::List(items) => items.iter().for_each(|item| spans(item, text, found)),
            Data::Map(entries) => {
                for (key, value) in entries {
                    found.push(text[key.span.start as usize..key.span.end as usize].to_owned());
                    spans(value, text, found);
                }
            }
        }
    }

    #[test]
    fn spans_cover_exactly_what_was_written() {
        let text = "é: [ \"a b\", 'c' ]\nk:\n  - x: 1\n    y: {z: ~}\n# end\n";
        let tree = read(text);
        assert!(tree.problems.is_empty(), "{:?}", tree.problems);
        let mut found = Vec::new();
        spans(&tree.root.unwrap(), text, &mut found);
        assert_eq!(
            found,
            [
                "é: [ \"a b\", 'c' ]\nk:\n  - x: 1\n    y: {z: ~}",
                "é",
                "[ \"a b\", 'c' ]",
                "\"a b\"",
                "'c'",
                "k",
                "- x: 1\n    y: {z: ~}",
                "x: 1\n    y: {z: ~}",
                "x",
                "1",
                "y",
                "{z: ~}",
                "z",
                "~",
            ]
        );
    }

    #[test]
    fn what_stands_before_a_syntax_error_is_kept() {
        let tree = read("policy: x\nmode: [a\nz: }");
        assert!(tree.truncated);
        assert_eq!(tree.problems[0].code, Code::Syntax);
        let Some(Node { data: Data::Map(entries), .. }) = tree.root else { panic!("no map") };
        assert_eq!(entries[0].0.value, "policy");
    }
}
