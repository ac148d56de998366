//! PTX text to statements: comments, words, operands. Knows no instruction.

use super::fault::ParseError;

#[derive(Clone, PartialEq, Debug)]
enum Token {
    /// A name, a number, or an opcode with its modifiers: `%r1`, `0f3F800000`, `ld.global.L2::128B.v4.f32`.
    Word(String),
    Punctuation(char),
    Text(String),
}

/// An operand as it is written.
#[derive(Clone, PartialEq, Debug)]
pub enum Operand {
    Name(String),
    Integer(i64),
    /// The bits of a `0f…` literal.
    Float(u32),
    Vector(Vec<Operand>),
    Address {
        base: Box<Operand>,
        offset: i64,
    },
    /// `p|q`, two destinations.
    Pair(String, String),
}

/// One statement of a kernel's body.
#[derive(Clone, PartialEq, Debug)]
pub enum Statement {
    Label(String),
    /// `.reg` or `.shared` with the words behind it.
    Declaration(Vec<String>),
    Instruction {
        /// The predicate register, and whether it is negated.
        guard: Option<(String, bool)>,
        opcode: String,
        operands: Vec<Operand>,
    },
}

/// A reader of tokens.
pub struct Reader {
    tokens: Vec<(Token, u32)>,
    position: usize,
}

type Result<T> = std::result::Result<T, ParseError>;

impl Reader {
    pub fn new(text: &str) -> Result<Reader> {
        Ok(Reader { tokens: tokens(text)?, position: 0 })
    }

    /// The line of the next token.
    pub fn line(&self) -> u32 {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens.get(self.position.min(last)).map_or(0, |token| token.1)
    }

    pub fn error<T>(&self, problem: impl Into<String>) -> Result<T> {
        Err(ParseError::new(self.line(), problem))
    }

    pub fn is_at_end(&self) -> bool {
        self.position == self.tokens.len()
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.position).map(|token| &token.0)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.position += usize::from(token.is_some());
        token
    }

    /// Takes a punctuation mark if it comes next.
    pub fn take(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(&Token::Punctuation(mark));
        self.position += usize::from(found);
        found
    }

    pub fn expect(&mut self, mark: char) -> Result<()> {
        if self.take(mark) { Ok(()) } else { self.error(format!("expected '{mark}'")) }
    }

    pub fn word(&mut self) -> Result<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.position += 1;
                Ok(word)
            }
            _ => self.error("expected a word"),
        }
    }

    pub fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// The words and marks up to a semicolon, which is taken as well.
    fn until_semicolon(&mut self) -> Result<Vec<String>> {
        let mut words = Vec::new();
        while !self.take(';') {
            match self.next() {
                Some(Token::Word(word) | Token::Text(word)) => words.push(word),
                Some(Token::Punctuation(mark)) => words.push(mark.to_string()),
                None => return self.error("expected ';'"),
            }
        }
        Ok(words)
    }

    /// A declaration whose first word comes next, such as `.shared .align 16 .b8 tile[512];`.
    pub fn declaration(&mut self) -> Result<Vec<String>> {
        self.until_semicolon()
    }

    /// The statements of a body behind its opening brace, with their lines; takes the closing one.
    pub fn body(&mut self) -> Result<Vec<(Statement, u32)>> {
        let mut statements = Vec::new();
        let mut depth = 1;
        loop {
            let line = self.line();
            if self.take('{') {
                depth += 1;
            } else if self.take('}') {
                depth -= 1;
                if depth == 0 {
                    return Ok(statements);
                }
            } else if !self.take(';') {
                statements.extend(self.statement()?.map(|statement| (statement, line)));
            }
        }
    }

    fn statement(&mut self) -> Result<Option<Statement>> {
        let guard = if self.take('@') {
            let negated = self.take('!');
            Some((self.word()?, negated))
        } else {
            None
        };
        let line = self.line();
        let word = self.word()?;
        if guard.is_none() && self.take(':') {
            return Ok(Some(Statement::Label(word)));
        }
        match word.as_str() {
            ".loc" | ".file" => {
                while !self.is_at_end() && self.line() == line {
                    self.position += 1;
                }
                Ok(None)
            }
            ".pragma" => self.until_semicolon().map(|_| None),
            ".reg" | ".shared" => {
                let mut words = vec![word];
                words.extend(self.until_semicolon()?);
                Ok(Some(Statement::Declaration(words)))
            }
            _ if word.starts_with('.') => Err(ParseError::new(line, format!("unknown directive {word}"))),
            _ => {
                let operands = self.operands()?;
                Ok(Some(Statement::Instruction { guard, opcode: word, operands }))
            }
        }
    }

    fn operands(&mut self) -> Result<Vec<Operand>> {
        let mut operands = Vec::new();
        if self.take(';') {
            return Ok(operands);
        }
        loop {
            operands.push(self.operand()?);
            if self.take(';') {
                return Ok(operands);
            }
            self.expect(',')?;
        }
    }

    fn operand(&mut self) -> Result<Operand> {
        if self.take('{') {
            let mut elements = vec![self.operand()?];
            while self.take(',') {
                elements.push(self.operand()?);
            }
            self.expect('}')?;
            return Ok(Operand::Vector(elements));
        }
        if self.take('[') {
            let base = Box::new(self.scalar()?);
            let mut offset = 0;
            while !self.take(']') {
                let plus = self.take('+');
                let minus = self.take('-');
                let Operand::Integer(value) = self.scalar()? else { return self.error("expected an offset") };
                if !plus && !minus {
                    return self.error("expected '+' or ']'");
                }
                offset += if minus { -value } else { value };
            }
            return Ok(Operand::Address { base, offset });
        }
        let first = self.scalar()?;
        match first {
            Operand::Name(first) if self.take('|') => Ok(Operand::Pair(first, self.word()?)),
            _ => Ok(first),
        }
    }

    fn scalar(&mut self) -> Result<Operand> {
        let negative = self.take('-');
        let word = self.word()?;
        let value = number(&word);
        match value {
            Some(Operand::Integer(value)) if negative => Ok(Operand::Integer(value.wrapping_neg())),
            Some(value) if !negative => Ok(value),
            None if !negative && !word.starts_with(|c: char| c.is_ascii_digit()) => Ok(Operand::Name(word)),
            _ => self.error(format!("'{word}' is no number")),
        }
    }
}

/// An integer (`12`, `0x1F`, `7U`) or the bits of a float (`0f3F800000`).
fn number(word: &str) -> Option<Operand> {
    if let Some(hex) = word.strip_prefix("0f").or(word.strip_prefix("0F")) {
        return u32::from_str_radix(hex, 16).ok().map(Operand::Float);
    }
    let digits = word.strip_suffix('U').unwrap_or(word);
    match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok().map(|value| Operand::Integer(value as i64)),
        None => digits.parse::<i64>().ok().map(Operand::Integer),
    }
}

fn tokens(text: &str) -> Result<Vec<(Token, u32)>> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '\n' {
            line += 1;
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_$%.".contains(c);
        let length = if let Some(comment) = rest.strip_prefix("//") {
            2 + comment.find('\n').unwrap_or(comment.len())
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let end = comment.find("*/").ok_or_else(|| ParseError::new(line, "a comment without end"))?;
            line += comment[..end].matches('\n').count() as u32;
            end + 4
        } else if first == '"' {
            let end = rest[1..].find('"').ok_or_else(|| ParseError::new(line, "a string without end"))?;
            tokens.push((Token::Text(rest[1..=end].to_owned()), line));
            end + 2
        } else if first.is_whitespace() {
            first.len_utf8()
        } else if is_word(first) {
            let mut end = 0;
            loop {
                end += rest[end..].find(|c| !is_word(c)).unwrap_or(rest.len() - end);
                // Inside an opcode: `.L2::128B`. A single colon ends a label.
                if rest[end..].starts_with("::") {
                    end += 2;
                } else {
                    break;
                }
            }
            tokens.push((Token::Word(rest[..end].to_owned()), line));
            end
        } else if "{}[]()<>,;:@!|+-=".contains(first) {
            tokens.push((Token::Punctuation(first), line));
            1
        } else {
            return Err(ParseError::new(line, format!("unexpected character {first:?}")));
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}
