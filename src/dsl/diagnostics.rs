//! What is wrong with a model file, and where: collected as data, drawn by miette.

use std::fmt;
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceSpan};

use super::Source;
use super::ast::Span;

/// One mistake: the sentence that says it, the places it concerns, and what to do.
#[derive(Clone, PartialEq, Debug)]
pub struct Diagnostic {
    severity: Severity,
    message: String,
    /// The first is where the mistake is; the others help to see why.
    labels: Vec<(Span, String)>,
    /// The formula that failed, then the calls that led here, innermost first.
    causes: Vec<String>,
    help: Vec<String>,
}

impl Diagnostic {
    pub(super) fn error(message: impl Into<String>, span: Span, label: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            message: message.into(),
            labels: vec![(span, label.into())],
            causes: Vec::new(),
            help: Vec::new(),
        }
    }

    /// A mistake of the file as a whole, of which no excerpt is shown.
    pub(super) fn of_file(message: impl Into<String>) -> Self {
        Diagnostic { labels: Vec::new(), ..Diagnostic::error(message, Span::default(), "") }
    }

    pub(super) fn warning(message: impl Into<String>, span: Span, label: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(message, span, label) }
    }

    /// Adds another place that the mistake concerns.
    pub(super) fn and(mut self, span: Span, label: impl Into<String>) -> Self {
        self.labels.push((span, label.into()));
        self
    }

    pub(super) fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    pub(super) fn help_if(mut self, help: Option<impl Into<String>>) -> Self {
        self.help.extend(help.map(Into::into));
        self
    }

    /// Where the mistake is; the file's start for one of the file as a whole.
    pub(super) fn span(&self) -> Span {
        self.labels.first().map(|(span, _)| *span).unwrap_or_default()
    }
}

/// How many messages are drawn before the rest are only counted.
const SHOWN: usize = 20;

/// Everything found wrong with a model file. `Display` draws it without colour.
#[derive(Clone, Default, Debug)]
pub struct Diagnostics {
    source: Option<Arc<NamedSource<String>>>,
    list: Vec<Diagnostic>,
}

impl Diagnostics {
    pub(super) fn new(source: &Source, mut list: Vec<Diagnostic>) -> Self {
        // Where no excerpt names the file, the sentence does.
        for diagnostic in list.iter_mut().filter(|diagnostic| diagnostic.labels.is_empty()) {
            diagnostic.message = format!("{}: {}", source.name, diagnostic.message);
        }
        let source = NamedSource::new(&source.name, source.text.clone());
        Diagnostics { source: Some(Arc::new(source)), list }
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The messages drawn over excerpts of the source.
    pub fn render(&self, colour: bool) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
        let mut text = String::new();
        for diagnostic in self.list.iter().take(SHOWN) {
            if !text.is_empty() {
                text.push('\n');
            }
            let drawing = Drawing::new(diagnostic, self.source.clone());
            // Writing to a `String` cannot fail; a label outside the source could, and then the sentence stands.
            let mut drawn = String::new();
            match handler.render_report(&mut drawn, &drawing) {
                Ok(()) => text.push_str(&drawn),
                Err(fmt::Error) => text.push_str(&diagnostic.message),
            }
        }
        if self.list.len() > SHOWN {
            text.push_str(&format!("\n… and {} more\n", self.list.len() - SHOWN));
        }
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// A diagnostic in the form that miette draws.
#[derive(Debug)]
struct Drawing {
    message: String,
    severity: Severity,
    source: Option<Arc<NamedSource<String>>>,
    labels: Vec<LabeledSpan>,
    cause: Option<Cause>,
    help: String,
}

impl Drawing {
    fn new(diagnostic: &Diagnostic, source: Option<Arc<NamedSource<String>>>) -> Self {
        let labels = diagnostic.labels.iter().enumerate().map(|(position, (span, text))| {
            let at = SourceSpan::from((span.start, span.end - span.start));
            let text = (!text.is_empty()).then(|| text.clone());
            if position == 0 {
                LabeledSpan::new_primary_with_span(text, at)
            } else {
                LabeledSpan::new_with_span(text, at)
            }
        });
        Drawing {
            message: diagnostic.message.clone(),
            severity: diagnostic.severity,
            source,
            labels: labels.collect(),
            cause: Cause::chain(&diagnostic.causes),
            help: diagnostic.help.join("\n"),
        }
    }
}

impl fmt::Display for Drawing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Drawing {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

impl miette::Diagnostic for Drawing {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.help.is_empty()).then(|| Box::new(&self.help) as _)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| source as _)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// A line below the message, and those below it.
#[derive(Debug)]
struct Cause {
    text: String,
    next: Option<Box<Cause>>,
}

impl Cause {
    fn chain(texts: &[String]) -> Option<Cause> {
        texts
            .iter()
            .rev()
            .fold(None, |next, text| Some(Cause { text: text.clone(), next: next.map(Box::new) }))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.next.as_ref().map(|next| next as _)
    }
}

/// "a, b or c".
pub(super) fn listed(words: &[impl AsRef<str>], conjunction: &str) -> String {
    match words {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} {conjunction} {}", first.join(", "), last.as_ref())
        }
    }
}
