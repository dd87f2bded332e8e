//! Names as they are on the wire

/// How a method's name is written
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum Case {
    /// `MultiplyAll`: net/rpc's, whose methods are exported ones
    #[default]
    Pascal,
    /// `multiplyAll`
    Camel,
    /// `multiply_all`
    Snake,
}

impl Case {
    pub(crate) const ALL: [(&str, Self); 3] =
        [("PascalCase", Self::Pascal), ("camelCase", Self::Camel), ("snake_case", Self::Snake)];

    /// A `snake_case` name in this case
    pub(crate) fn of(self, name: &str) -> String {
        match self {
            Self::Snake => name.to_owned(),
            Self::Pascal => name.split('_').map(capitalised).collect(),
            Self::Camel => {
                let mut words = name.split('_').filter(|word| !word.is_empty());
                let first = words.next().unwrap_or(name).to_owned();
                words.map(capitalised).fold(first, |name, word| name + &word)
            }
        }
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Case;

    #[test]
    fn words_are_joined_as_the_case_wants() {
        for (name, pascal, camel) in [
            ("multiply", "Multiply", "multiply"),
            ("did_open", "DidOpen", "didOpen"),
            ("utf_16", "Utf16", "utf16"),
            ("_private_", "Private", "private"),
            ("größe_ändern", "GrößeÄndern", "größeÄndern"),
        ] {
            assert_eq!(Case::Pascal.of(name), pascal);
            assert_eq!(Case::Camel.of(name), camel);
            assert_eq!(Case::Snake.of(name), name);
        }
    }
}
