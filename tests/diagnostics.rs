//! Each `tests/diagnostics/NAME.kiln` holds a mistake that a person makes; `NAME.txt` is what kiln says. A first line
//! `// -D name=value …` passes parameters.

mod text_cases;

use kiln::dsl::{self, Defines, Source};

/// What kiln prints about a model file.
fn messages(source: &Source, defines: &Defines) -> String {
    let model = match dsl::parse(source) {
        Ok(model) => model,
        Err(errors) => return errors.to_string(),
    };
    match dsl::elaborate_with_warnings(source, &model, defines) {
        Ok((_, warnings)) => warnings.to_string(),
        Err(errors) => errors.to_string(),
    }
}

fn defines(text: &str) -> Defines {
    let Some(line) = text.lines().next().and_then(|line| line.strip_prefix("// -D ")) else {
        return Vec::new();
    };
    line.split(" -D ")
        .map(|define| define.split_once('=').expect("name=value"))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

#[test]
fn mistakes_are_explained() {
    text_cases::check("diagnostics", 100, |name, text| {
        let source = Source { name: name.to_owned(), text: text.to_owned() };
        let printed = messages(&source, &defines(text));
        assert!(!printed.is_empty(), "{name} is taken without a word");
        printed + "\n"
    });
}

#[test]
fn colour_comes_only_when_asked_for() {
    let source = Source { name: "m.kiln".to_owned(), text: "model m() { output y = z }".to_owned() };
    let model = dsl::parse(&source).expect("parses");
    let errors = dsl::elaborate(&source, &model, &Vec::new()).expect_err("`z` is not defined");
    assert!(!errors.to_string().contains('\x1b'));
    assert!(errors.render(true).contains('\x1b'));
}
