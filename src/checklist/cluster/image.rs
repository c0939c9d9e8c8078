//! Names of container images, taken apart.

/// `registry/repository:tag@digest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    /// Without tag and digest.
    pub name: &'a str,
    pub tag: Option<&'a str>,
    pub digest: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// Takes a reference apart; any text gives a name.
    pub fn parse(reference: &'a str) -> Self {
        let (rest, digest) = match reference.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (reference, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let last = rest.rfind('/').map_or(0, |at| at + 1);
        match rest[last..].split_once(':') {
            Some((name, tag)) => Self { name: &rest[..last + name.len()], tag: Some(tag), digest },
            None => Self { name: rest, tag: None, digest },
        }
    }

    /// The last part of the name.
    pub fn base(&self) -> &'a str {
        self.name.rsplit('/').next().unwrap_or(self.name)
    }

    /// Whether it is the engine: `rivetdev/engine` of any registry, or a mirror named `rivet-engine`.
    pub fn is_engine(&self) -> bool {
        self.base() == "rivet-engine" || self.name == "rivetdev/engine" || self.name.ends_with("/rivetdev/engine")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let parts = |text| {
            let image = Image::parse(text);
            (image.name, image.tag, image.digest)
        };
        assert_eq!(parts("rivetdev/engine:latest"), ("rivetdev/engine", Some("latest"), None));
        assert_eq!(parts("reg.example:5000/rivet-engine"), ("reg.example:5000/rivet-engine", None, None));
        assert_eq!(parts("a/b:1@sha256:0f"), ("a/b", Some("1"), Some("sha256:0f")));
        assert!(Image::parse("ghcr.io/rivetdev/engine:2").is_engine() && !Image::parse("other/engine").is_engine());
    }
}
