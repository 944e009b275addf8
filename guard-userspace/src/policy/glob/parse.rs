//! Glob text → tokens, with errors that say where and what to write instead.

use super::error::{GlobError, GlobErrorKind, MAX_DEPTH, MAX_LEN};
use super::{Class, Token, shape};

pub(super) fn path(text: &str) -> Result<Vec<Token>, GlobError> {
    let tokens = Parser::new(text, true).whole()?;
    path_shape(text, &tokens)?;
    Ok(tokens)
}

pub(super) fn text(text: &str) -> Result<Vec<Token>, GlobError> {
    Parser::new(text, false).whole()
}

/// Spellings that are well formed but can never match a resolved absolute path.
fn path_shape(text: &str, tokens: &[Token]) -> Result<(), GlobError> {
    let fail = |kind, at| Err(GlobError { kind, at });
    if !begins_with_slash(tokens) {
        return fail(GlobErrorKind::NotAbsolute, 0..text.len());
    }
    if let Some(at) = text.find("//") {
        return fail(GlobErrorKind::EmptyComponent, at..at + 2);
    }
    if text.len() > 1 && text.ends_with('/') {
        return fail(GlobErrorKind::TrailingSlash, text.len() - 1..text.len());
    }
    let mut at = 0;
    for component in text.split('/') {
        if component == "." || component == ".." {
            return fail(GlobErrorKind::DotComponent, at..at + component.len());
        }
        at += component.len() + 1;
    }
    if text == "/" {
        return Ok(());
    }
    // What the text does not show: the same in braces, classes and escapes.
    match shape::whole(tokens) {
        Some(kind) => fail(kind, 0..text.len()),
        None => Ok(()),
    }
}

fn begins_with_slash(tokens: &[Token]) -> bool {
    match tokens.first() {
        Some(Token::Literal(bytes)) => bytes.starts_with(b"/"),
        Some(Token::Alternation(branches)) => branches.iter().all(|branch| begins_with_slash(branch)),
        Some(Token::One | Token::Star | Token::Dirs | Token::Below | Token::Class(_)) | None => false,
    }
}

/// The index (in reading order) of the first [`Token::Below`] with which the glob does not end.
fn misplaced_below(tokens: &[Token], at_end: bool, seen: &mut usize) -> Option<usize> {
    for (index, token) in tokens.iter().enumerate() {
        let last = at_end && index + 1 == tokens.len();
        match token {
            Token::Below => {
                if !last {
                    return Some(*seen);
                }
                *seen += 1;
            }
            Token::Alternation(branches) => {
                let found = branches.iter().find_map(|branch| misplaced_below(branch, last, seen));
                if found.is_some() {
                    return found;
                }
            }
            Token::Literal(_) | Token::One | Token::Star | Token::Dirs | Token::Class(_) => {}
        }
    }
    None
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// In a path `**` has a meaning and classes may not hold `/`.
    is_path: bool,
    /// Where each [`Token::Below`] was read, in order.
    belows: Vec<usize>,
}

impl<'a> Parser<'a> {
    const fn new(text: &'a str, is_path: bool) -> Self {
        Self { text, at: 0, is_path, belows: Vec::new() }
    }

    fn whole(mut self) -> Result<Vec<Token>, GlobError> {
        if self.text.is_empty() {
            return Err(self.error(GlobErrorKind::Empty, 0));
        }
        if self.text.len() > MAX_LEN {
            return Err(GlobError { kind: GlobErrorKind::TooLong, at: MAX_LEN..self.text.len() });
        }
        let tokens = self.sequence(0, false)?;
        if self.peek().is_some() {
            return Err(self.error(GlobErrorKind::StrayBrace, 1));
        }
        if let Some(&at) = misplaced_below(&tokens, true, &mut 0).and_then(|index| self.belows.get(index)) {
            return Err(GlobError { kind: GlobErrorKind::PartialDoubleStar, at: at..at + 2 });
        }
        Ok(tokens)
    }

    /// Tokens up to the end, an unnested `}`, or (inside braces) an unnested `,`. `after_slash`: what stands before this
    /// sequence ends in `/`, so a `**` may begin here.
    fn sequence(&mut self, depth: usize, mut after_slash: bool) -> Result<Vec<Token>, GlobError> {
        let mut tokens = Vec::new();
        while let Some(next) = self.peek() {
            let start = self.at;
            match next {
                '}' => break,
                ',' if depth > 0 => break,
                '{' => tokens.push(self.alternation(depth, after_slash)?),
                '[' => tokens.push(Token::Class(self.class()?)),
                '?' => {
                    self.at += 1;
                    tokens.push(Token::One);
                }
                '*' if self.is_path && self.rest().starts_with("**") => {
                    tokens.push(self.double_star(depth, after_slash)?);
                    after_slash = true;
                    continue;
                }
                '*' => {
                    self.at += 1;
                    tokens.push(Token::Star);
                }
                '\0' => return Err(self.error(GlobErrorKind::Nul, 1)),
                _ => self.literal(next, &mut tokens)?,
            }
            after_slash = &self.text[start..self.at] == "/";
        }
        Ok(tokens)
    }

    fn literal(&mut self, next: char, tokens: &mut Vec<Token>) -> Result<(), GlobError> {
        let mut utf8 = [0; 4];
        let byte;
        let bytes = if next == '\\' {
            byte = self.escape()?;
            if byte.0 { std::slice::from_ref(&byte.1) } else { self.take().encode_utf8(&mut utf8).as_bytes() }
        } else {
            self.take().encode_utf8(&mut utf8).as_bytes()
        };
        if bytes == [0] {
            return Err(GlobError { kind: GlobErrorKind::Nul, at: self.at - 1..self.at });
        }
        match tokens.last_mut() {
            Some(Token::Literal(literal)) => literal.extend_from_slice(bytes),
            _ => tokens.push(Token::Literal(bytes.to_vec())),
        }
        Ok(())
    }

    /// Behind a `\`: either a whole `\xNN` is consumed (true and the byte), or the backslash alone and the next
    /// character is to be taken as it is.
    fn escape(&mut self) -> Result<(bool, u8), GlobError> {
        let rest = self.rest();
        if let Some(hex) = rest.strip_prefix("\\x") {
            let byte = hex.get(..2).filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
            let Some(byte) = byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
                return Err(self.error(GlobErrorKind::BadEscape, 2));
            };
            self.at += 4;
            return Ok((true, byte));
        }
        match rest.chars().nth(1) {
            Some(next) if !next.is_ascii_alphanumeric() => {
                self.at += 1;
                Ok((false, 0))
            }
            Some(_) | None => Err(self.error(GlobErrorKind::BadEscape, 1)),
        }
    }

    /// `**/` or a `**` with which the glob ends; anything else would not be a whole component.
    fn double_star(&mut self, depth: usize, after_slash: bool) -> Result<Token, GlobError> {
        let error = self.error(GlobErrorKind::PartialDoubleStar, 2);
        if !after_slash {
            return Err(error);
        }
        self.at += 2;
        if self.rest().starts_with('/') {
            self.at += 1;
            return Ok(Token::Dirs);
        }
        // Whether what follows the braces lets this one end the glob is seen once they are all read.
        let ends = self.peek().is_none() || (depth > 0 && matches!(self.peek(), Some(',' | '}')));
        if !ends {
            return Err(error);
        }
        self.belows.push(error.at.start);
        Ok(Token::Below)
    }

    fn alternation(&mut self, depth: usize, after_slash: bool) -> Result<Token, GlobError> {
        let open = self.at;
        if depth == MAX_DEPTH {
            return Err(self.error(GlobErrorKind::TooDeep, 1));
        }
        let mut branches = Vec::new();
        loop {
            self.at += 1;
            branches.push(self.sequence(depth + 1, after_slash)?);
            match self.peek() {
                Some(',') => {}
                Some(_) => break,
                None => return Err(GlobError { kind: GlobErrorKind::UnclosedBrace, at: open..open + 1 }),
            }
        }
        self.at += 1;
        Ok(Token::Alternation(branches))
    }

    fn class(&mut self) -> Result<Class, GlobError> {
        let open = self.at;
        self.at += 1;
        let negated = matches!(self.peek(), Some('!' | '^'));
        if negated {
            self.at += 1;
        }
        let mut ranges = Vec::new();
        loop {
            match self.peek() {
                None => return Err(GlobError { kind: GlobErrorKind::UnclosedClass, at: open..open + 1 }),
                Some(']') => break,
                Some(_) => {}
            }
            let start = self.at;
            let first = self.class_byte()?;
            let mut last = first;
            if self.rest().starts_with('-') && !self.rest().starts_with("-]") {
                self.at += 1;
                if self.peek().is_none() {
                    continue;
                }
                last = self.class_byte()?;
            }
            if last < first {
                return Err(GlobError { kind: GlobErrorKind::BackwardsRange, at: start..self.at });
            }
            ranges.push((first, last));
        }
        self.at += 1;
        if ranges.is_empty() {
            return Err(GlobError { kind: GlobErrorKind::EmptyClass, at: open..self.at });
        }
        Ok(Class { negated, ranges })
    }

    fn class_byte(&mut self) -> Result<u8, GlobError> {
        if self.peek() == Some('\\') {
            let (whole, byte) = self.escape()?;
            if whole {
                return Ok(byte);
            }
        }
        let start = self.at;
        let next = self.take();
        let fail = |kind| Err(GlobError { kind, at: start..start + next.len_utf8() });
        match u8::try_from(u32::from(next)) {
            Ok(b'/') if self.is_path => fail(GlobErrorKind::SlashInClass),
            Ok(0) => fail(GlobErrorKind::Nul),
            Ok(byte) if byte.is_ascii() => Ok(byte),
            Ok(_) | Err(_) => fail(GlobErrorKind::WideClass),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// The next character; the caller has seen that there is one.
    fn take(&mut self) -> char {
        let next = self.peek().unwrap_or('\0');
        self.at += next.len_utf8();
        next
    }

    const fn error(&self, kind: GlobErrorKind, len: usize) -> GlobError {
        GlobError { kind, at: self.at..self.at + len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(glob: &str) -> Option<GlobErrorKind> {
        path(glob).err().map(|error| error.kind)
    }

    #[test]
    fn tokens_keep_the_slash_rules_out_of_the_compiler() {
        let literal = |text: &str| Token::Literal(text.as_bytes().to_vec());
        assert_eq!(path("/a/**/b").unwrap(), [literal("/a/"), Token::Dirs, literal("b")]);
        assert_eq!(path("/a/**").unwrap(), [literal("/a/"), Token::Below]);
        assert_eq!(path("/**/**").unwrap(), [literal("/"), Token::Dirs, Token::Below]);
        assert_eq!(
            path("/{a/**,b}").unwrap(),
            [literal("/"), Token::Alternation(vec![vec![literal("a/"), Token::Below], vec![literal("b")]])]
        );
    }

    #[test]
    fn every_mistake_has_its_own_kind() {
        use GlobErrorKind as K;
        for (glob, expected) in [
            ("", K::Empty),
            ("usr/bin", K::NotAbsolute),
            ("**/x", K::PartialDoubleStar),
            ("*/x", K::NotAbsolute),
            ("{/a,b}/x", K::NotAbsolute),
            ("/a//b", K::EmptyComponent),
            ("/a/../b", K::DotComponent),
            ("/a/.", K::DotComponent),
            ("/a/", K::TrailingSlash),
            ("/srv/{prod/,test/}", K::TrailingSlash),
            ("/srv/{,prod}", K::TrailingSlash),
            ("/srv/{prod,{test,old/}}", K::TrailingSlash),
            (r"/a/\/", K::TrailingSlash),
            (r"/a\/", K::TrailingSlash),
            (r"/a/\x2f", K::EmptyComponent),
            ("/a{/,}/b", K::EmptyComponent),
            ("/usr/{local,}/bin", K::EmptyComponent),
            ("{/a,/b/}/c", K::EmptyComponent),
            ("/opt/{a,./b}/key", K::DotComponent),
            ("/a/{.,..}/b", K::DotComponent),
            ("/a/{b/..,c}", K::DotComponent),
            ("/a/.{.,x}/b", K::DotComponent),
            (r"/a/\.\./b", K::DotComponent),
            ("/a/[.][.]/b", K::DotComponent),
            ("/a/[.-.]", K::DotComponent),
            (r"/a/\x2e\x2e/b", K::DotComponent),
            ("/**/[.]/b", K::DotComponent),
            (r"/a[\x2f]b", K::SlashInClass),
            ("/a**", K::PartialDoubleStar),
            ("/a/**b", K::PartialDoubleStar),
            ("/***", K::PartialDoubleStar),
            ("/{a/**,b}/c", K::PartialDoubleStar),
            ("/{a/**b,c}", K::PartialDoubleStar),
            ("/{a/**,{b/**}c}", K::PartialDoubleStar),
            ("/{a", K::UnclosedBrace),
            ("/a}", K::StrayBrace),
            ("/[a", K::UnclosedClass),
            ("/[a-", K::UnclosedClass),
            ("/[]", K::EmptyClass),
            ("/[z-a]", K::BackwardsRange),
            ("/[é]", K::WideClass),
            ("/[a/]", K::SlashInClass),
            (r"/\", K::BadEscape),
            (r"/\xg0", K::BadEscape),
            (r"/\d", K::BadEscape),
            (r"/\x00", K::Nul),
            ("/a\0", K::Nul),
        ] {
            assert_eq!(kind(glob), Some(expected), "{glob:?}");
        }
        assert_eq!(kind(&format!("/{}", "{".repeat(9))), Some(K::TooDeep));
        assert_eq!(kind(&format!("/{}", "a".repeat(4096))), Some(K::TooLong));
    }

    #[test]
    fn what_can_match_is_no_mistake() {
        for glob in [
            "/",
            "/{,a}",
            "/usr/{,local/}bin/*",
            "/a{,/**}",
            "/a/{b,c/d}",
            "{/a,/b/c}/d",
            "/**/.*",
            "/a/.{git,hg}/b",
            "/a/..{.,x}/b",
            "/a/[.x][.]/b",
            "/a/.?/b",
            "/a/*/b",
            "/a/*./b",
            "/a/[!/]b",
            "/**/{,.}rc",
            "/a/{**/b,c}",
        ] {
            assert_eq!(kind(glob), (glob == "/a/[!/]b").then_some(GlobErrorKind::SlashInClass), "{glob:?}");
        }
    }

    #[test]
    fn errors_stay_inside_the_text() {
        for glob in [r"/\x", r"/é\", "/é**", "/[é", "/{é", "/[\\", "//", "/é//"] {
            let error = path(glob).unwrap_err();
            assert!(
                error.at.end <= glob.len() && glob.is_char_boundary(error.at.start),
                "{glob:?} {error:?}"
            );
        }
    }
}
