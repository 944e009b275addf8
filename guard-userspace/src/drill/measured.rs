//! What came of each drill on the kernels of the matrix: green, but for the skips listed here. A guest test runs the whole
//! catalogue on each of them and fails if the list is not true, in either direction.

/// `KERNELS DRILL: words of the reason`; KERNELS is a list of series with commas, or `any`.
const LIST: &str = include_str!("measured.txt");

/// The series of kernels, as the list and the page of bypasses name them.
pub const SERIES: [&str; 3] = ["6.1", "6.12", "7.x"];

/// Which of them a release is of.
pub fn series(release: &str) -> Option<&'static str> {
    SERIES.into_iter().find(|series| release.starts_with(&format!("{}.", series.trim_end_matches(".x"))))
}

/// The drills that are skipped on a series of kernels in the guests, and why.
pub fn skips(series: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.filter_map(move |line| {
        let (kernels, rest) = line.split_once(' ')?;
        kernels.split(',').any(|kernel| kernel == "any" || kernel == series).then(|| rest.split_once(": "))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::catalogue;

    #[test]
    fn every_line_is_of_a_drill_and_kernels_that_there_are() {
        for line in LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (kernels, rest) = line.split_once(' ').expect(line);
            assert!(kernels.split(',').all(|kernel| kernel == "any" || SERIES.contains(&kernel)), "{line}");
            let (drill, why) = rest.split_once(": ").expect(line);
            assert!(catalogue::find(drill).is_some() && !why.is_empty(), "{line}");
        }
    }

    #[test]
    fn a_release_is_of_its_series() {
        assert_eq!(series("6.1.0-9-amd64"), Some("6.1"));
        assert_eq!(series("6.12.118+deb13-cloud-amd64"), Some("6.12"));
        assert_eq!(series("7.2.3"), Some("7.x"));
        assert_eq!(series("6.6.1"), None);
    }
}
