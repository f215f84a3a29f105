//! What a class of tokens means: outside of everything, or the beginning or inside of something.

/// A class of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tag {
    /// Part of nothing.
    Outside,
    /// The first word of something of this type.
    Begin(String),
    /// Another word of it.
    Inside(String),
}

impl Tag {
    /// Reads a label of one of the schemes in use (IOB2, IOBES, BILOU): a letter and a type. What has no letter is a type.
    pub fn of(label: &str) -> Self {
        if label.eq_ignore_ascii_case("o") {
            return Self::Outside;
        }
        let prefixed = label.split_once(['-', '_']).filter(|(letter, kind)| letter.len() == 1 && !kind.is_empty());
        match prefixed.map(|(letter, kind)| (letter.to_ascii_uppercase(), kind)) {
            // One that is alone (S, U) begins, too.
            Some((letter, kind)) if ["B", "S", "U"].contains(&letter.as_str()) => Self::Begin(kind.to_owned()),
            Some((letter, kind)) if ["I", "E", "L", "M"].contains(&letter.as_str()) => Self::Inside(kind.to_owned()),
            _ => Self::Inside(label.to_owned()),
        }
    }

    /// What it is part of.
    pub fn kind(&self) -> Option<&str> {
        match self {
            Self::Outside => None,
            Self::Begin(kind) | Self::Inside(kind) => Some(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_all_schemes() {
        let begin = |kind: &str| Tag::Begin(kind.to_owned());
        let inside = |kind: &str| Tag::Inside(kind.to_owned());
        for (label, tag) in [
            ("O", Tag::Outside),
            ("o", Tag::Outside),
            ("B-PER", begin("PER")),
            ("I-ZIP_CODE", inside("ZIP_CODE")),
            ("b_per", begin("per")),
            ("S-LOC", begin("LOC")),
            ("E-LOC", inside("LOC")),
            ("U-LOC", begin("LOC")),
            ("L-LOC", inside("LOC")),
            ("PER", inside("PER")),
            ("LABEL_3", inside("LABEL_3")),
            ("X-RAY", inside("X-RAY")),
            ("B-", inside("B-")),
        ] {
            assert_eq!(Tag::of(label), tag, "{label}");
        }
    }
}
