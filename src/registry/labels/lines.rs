//! Labels as text, one class a line, whichever program has written it.
//!
//! Called by `Labels::parse`. What is taken off a line is taken off all: numbers that run with the lines, quotes,
//! commas of a list.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{Label, LabelsError, columns, json, split_wnid};

/// Reads the lines of a text without a byte order mark.
///
/// # Errors
/// [`LabelsError::Empty`] without any line, [`LabelsError::BlankLine`] for a blank one before the last, or one without
/// a name, [`LabelsError::Numbers`] for numbers that contradict one another.
pub(super) fn parse(text: &str) -> Result<Vec<Label>, LabelsError> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = without_comments(text.trim_end());
    if text.is_empty() {
        return Err(LabelsError::Empty);
    }
    let lines: Vec<&str> = text.split('\n').map(str::trim).collect();
    if let Some(names) = columns::names(&lines) {
        check_names(&names)?;
        return Ok(names.iter().map(|name| Label::parse(name)).collect());
    }
    check_names(&lines)?;
    let lines = without_list_commas(lines);
    let names = without_quotes(without_numbers(lines)?);
    check_names(&names)?;
    Ok(names.iter().map(|name| Label::parse(name)).collect())
}

fn check_names<T: AsRef<str>>(names: &[T]) -> Result<(), LabelsError> {
    match names.iter().position(|name| name.as_ref().is_empty()) {
        Some(i) => Err(LabelsError::BlankLine { line: i + 1 }),
        None => Ok(()),
    }
}

/// Takes off what a program or a person has written above the names.
fn without_comments(text: &str) -> &str {
    let is_comment = |line: &str| line.trim() == "#" || line.trim_start().starts_with("# ");
    let mut rest = text;
    while let Some((_, more)) = rest.split_once('\n').filter(|(line, _)| is_comment(line)) {
        rest = more;
    }
    match rest.len() < text.len() && !rest.lines().any(is_comment) {
        true => rest.trim_start(),
        false => text, // names that begin so
    }
}

/// Takes off the commas of a list in a program's text, or of an empty last column: all lines but the last have one.
fn without_list_commas(mut lines: Vec<&str>) -> Vec<&str> {
    let is_list = matches!(&lines[..], [first @ .., _] if !first.is_empty() && first.iter().all(|l| l.ends_with(',')));
    if is_list {
        for line in &mut lines {
            *line = line.strip_suffix(',').unwrap_or(line).trim_end();
        }
    }
    lines
}

/// Takes off the numbers of the classes, if every line has its own. A head line goes that stands above such lines, or
/// above synset ids; where it calls the numbers something else, they are not those of the classes.
///
/// # Errors
/// [`LabelsError::Numbers`] if they can be class numbers, but are not 0 to the last.
fn without_numbers(lines: Vec<&str>) -> Result<Vec<&str>, LabelsError> {
    if let Some(numbered) = Numbered::of(&lines) {
        return numbered.by_class();
    }
    let Some((head, rest)) = lines.split_first() else {
        return Ok(lines);
    };
    let has_wnid = |line: &str| split_wnid(line).is_some_and(|(_, names)| !names.is_empty());
    if rest.len() < 2 || !head.contains([',', ';', '\t']) || has_wnid(head) {
        return Ok(lines);
    }
    match Numbered::of(rest) {
        Some(numbered) if columns::is_head_of_numbers(head, numbered.is_in_front) => {
            numbered.by_class()
        }
        Some(numbered) => Ok(numbered.in_order()),
        None if rest.iter().all(|line| has_wnid(line)) => Ok(rest.to_vec()),
        None => Ok(lines),
    }
}

/// Lines that each have a number beside the name, which can be that of the class.
struct Numbered<'a> {
    rows: Vec<(usize, &'a str)>,
    is_in_front: bool,
}

impl<'a> Numbered<'a> {
    fn of(lines: &[&'a str]) -> Option<Numbered<'a>> {
        let rows = |split: fn(&'a str) -> Option<(usize, &'a str)>| {
            let rows: Option<Vec<_>> = lines.iter().map(|line| split(line)).collect();
            // Numbers far beyond those of the classes are years, or types.
            rows.filter(|rows| rows.iter().all(|(number, _)| *number <= 2 * lines.len()))
        };
        let distinct = |rows: &[(usize, &str)]| {
            let names = rows.iter().map(|(_, name)| *name);
            names.collect::<HashSet<&str>>().len()
        };
        // "1 star", "2 stars", "3 stars" are names that a number belongs to: most of what is left is the same.
        let tell_apart = |rows: &Vec<_>| 2 * distinct(rows) > rows.len();
        if let Some(rows) = rows(number_in_front).filter(tell_apart) {
            return Some(Numbered {
                rows,
                is_in_front: true,
            });
        }
        // "class: 0", "class: 1" are names that a number belongs to as well.
        let rows = rows(number_behind).filter(|rows| distinct(rows) > 1)?;
        Some(Numbered {
            rows,
            is_in_front: false,
        })
    }

    fn by_class(self) -> Result<Vec<&'a str>, LabelsError> {
        let mut numbers: Vec<u64> = self.rows.iter().map(|row| row.0 as u64).collect();
        numbers.sort_unstable();
        by_number(self.rows).ok_or_else(|| {
            let fault = json::fault(numbers.into_iter());
            LabelsError::Numbers(fault.expect("numbers without a fault give an order"))
        })
    }

    fn in_order(self) -> Vec<&'a str> {
        self.rows.into_iter().map(|(_, name)| name).collect()
    }
}

/// The names in the order of their numbers, which are 0 to the last, in any order, or run from 1 with the lines.
pub(super) fn by_number<T>(rows: Vec<(usize, T)>) -> Option<Vec<T>> {
    if rows.iter().zip(1..).all(|(row, number)| row.0 == number) {
        return Some(rows.into_iter().map(|row| row.1).collect());
    }
    let mut names: Vec<Option<T>> = rows.iter().map(|_| None).collect();
    for (number, name) in rows {
        if names.get_mut(number)?.replace(name).is_some() {
            return None;
        }
    }
    names.into_iter().collect()
}

/// `0,cat`, `0: cat`, `0 cat`, `"0","cat"` and their like: the number, and what follows.
fn number_in_front(line: &str) -> Option<(usize, &str)> {
    let (digits, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => line.split_at(line.find(|c: char| !c.is_ascii_digit())?),
    };
    let number = number(digits)?;
    let name = rest.trim_start();
    if let Some(name) = name.strip_prefix([',', ';', ':', '=', '|']) {
        return Some((number, name.trim_start()));
    }
    let is_apart = |name: &str| name.starts_with([' ', '\t']);
    match rest.strip_prefix(['.', ')']).filter(|name| is_apart(name)) {
        Some(name) => Some((number, name.trim_start())),
        None if is_apart(rest) => {
            let name = name.strip_prefix("- ").unwrap_or(name);
            Some((number, name.trim_start()))
        }
        None => None,
    }
}

/// `cat,0` and its like: the number, and what stands in front of it.
fn number_behind(line: &str) -> Option<(usize, &str)> {
    let (name, digits) = line.rsplit_once([',', ';', '\t', ':'])?;
    // A number that ends a name in quotes is a part of the name.
    if digits.ends_with('"') && !digits.trim_start().starts_with('"') {
        return None;
    }
    Some((number(digits.trim().trim_matches('"'))?, name.trim_end()))
}

fn number(digits: &str) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Takes off quotes: double ones from each name that has them, as in CSV; single ones if all have them.
fn without_quotes(names: Vec<&str>) -> Vec<Cow<'_, str>> {
    let single = |name: &&str| name.len() > 2 && name.starts_with('\'') && name.ends_with('\'');
    match names.iter().all(single) {
        true => names
            .into_iter()
            .map(|n| n[1..n.len() - 1].into())
            .collect(),
        false => names.into_iter().map(unquoted).collect(),
    }
}

/// The content of a quoted field of CSV, in which a quote is doubled; any other text as it is.
pub(super) fn unquoted(field: &str) -> Cow<'_, str> {
    let inside = field.strip_prefix('"').and_then(|f| f.strip_suffix('"'));
    match inside {
        Some(inside) if !inside.replace("\"\"", "").contains('"') => {
            inside.replace("\"\"", "\"").trim().to_owned().into()
        }
        _ => field.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels joined by `|`.
    fn read(text: &str) -> String {
        let labels = parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        let names: Vec<&str> = labels.iter().map(|l| &*l.label).collect();
        names.join("|")
    }

    #[test]
    fn numbers_in_front_go_if_every_line_has_its_own() {
        for text in [
            "0,cat\n1,dog\n2,owl",
            "0: cat\n1: dog\n2: owl",
            "0:cat\n1:dog\n2:owl",
            "0 cat\n1 dog\n2 owl",
            "0\tcat\n1\tdog\n2\towl",
            "0;cat\n1;dog\n2;owl",
            "0 - cat\n1 - dog\n2 - owl",
            "0. cat\n1. dog\n2. owl",
            "0) cat\n1) dog\n2) owl",
            "00 cat\n01 dog\n02 owl",
            "1 cat\n2 dog\n3 owl",
            "\"0\",\"cat\"\n\"1\",\"dog\"\n\"2\",\"owl\"",
            "index,label\n0,cat\n1,dog\n2,owl",
            "id\tname\n0\tcat\n1\tdog\n2\towl",
            "2,owl\n0,cat\n1,dog",
            "cat,0\ndog,1\nowl,2",
            "name,index\ncat,0\ndog,1\nowl,2",
            "owl\t2\ncat\t0\ndog\t1",
            "0: cat,\n1: dog,\n2: owl",
            "wnid,name\nn02121620,cat\nn02084071,dog\nn01621127,owl",
            "index,wnid,name\n0,n02121620,\"cat, true cat\"\n1,n02084071,dog\n2,n01621127,owl",
        ] {
            assert_eq!(read(text), "cat|dog|owl", "{text:?}");
        }
        assert_eq!(read("0,dog, small\n1,dog, large"), "dog, small|dog, large");
        let wide: Vec<String> = (0..12).map(|i| format!("{i:>2} c{i}")).collect();
        assert!(read(&wide.join("\n")).starts_with("c0|c1|c2"));
    }

    #[test]
    fn numbers_that_are_part_of_the_names_stay() {
        for (text, names) in [
            ("0\n1\n2", "0|1|2"),
            ("0 cat\n1 dog\nowl", "0 cat|1 dog|owl"),
            ("\"0 cat\"\n\"2 dog\"", "0 cat|2 dog"),
            ("\"cat, 1\"\n\"dog, 1\"", "cat, 1|dog, 1"),
            ("2004 ford\n1998 bmw", "2004 ford|1998 bmw"),
            ("airbus: 320\nboeing: 737", "airbus: 320|boeing: 737"),
            (
                "1 star\n2 stars\n3 stars\n4 stars\n5 stars",
                "1 star|2 stars|3 stars|4 stars|5 stars",
            ),
            ("0 people\n1 people", "0 people|1 people"),
            ("5 euro\n10 euro\n20 euro", "5 euro|10 euro|20 euro"),
            ("0cat\n1dog", "0cat|1dog"),
            ("2d plan\n3d plan", "2d plan|3d plan"),
            ("class 0\nclass 1", "class 0|class 1"),
            ("class: 0\nclass: 1", "class: 0|class: 1"),
            ("dog, small\ncat", "dog, small|cat"),
        ] {
            assert_eq!(read(text), names, "{text:?}");
        }
    }

    #[test]
    fn numbers_that_contradict_one_another_are_refused() {
        for (text, words) in [
            ("1 cat\n3 dog\n2 bird", "do not name class 0"),
            ("1: cat\n3: dog\n2: bird", "do not name class 0"),
            ("0,cat\n2,dog", "do not name class 1"),
            ("0,cat\n0,dog", "name class 0 twice"),
            ("cat,1\ndog,3\nbird,2", "do not name class 0"),
            ("id,name\n0,cat\n2,dog\n3,bird", "do not name class 1"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(words), "{text:?}: {error}");
            assert!(error.contains("run from 1 with the lines"), "{error}");
        }
    }

    #[test]
    fn column_that_counts_something_else_gives_no_order() {
        for text in [
            "name,count\ncat,2\ndog,0\nowl,1",
            "count,name\n2,cat\n0,dog\n1,owl",
            "count;species\n5;cat\n5;dog\n1;owl",
            "name,count,id\ncat,2,0\ndog,0,1\nowl,1,2",
            "name,kind,count\ncat,a,2\ndog,a,0\nowl,a,1",
            "label,label_id\nowl,2\ndog,1\ncat,0",
            "\"class_idx\",\"class\"\n2,owl\n0,cat\n1,dog",
        ] {
            assert_eq!(read(text), "cat|dog|owl", "{text:?}");
        }
    }

    #[test]
    fn quotes_of_csv_and_of_programs_go() {
        for (text, names) in [
            ("\"dog, small\"\ncat", "dog, small|cat"),
            ("0,\"dog, small\"\n1,cat", "dog, small|cat"),
            ("\"say \"\"hi\"\"\"\n\"cat\"", "say \"hi\"|cat"),
            ("\"cat\",\n\"dog\",\n", "cat|dog"),
            ("'cat',\n'dog'", "cat|dog"),
            ("0: 'cat',\n1: 'dog',", "cat|dog"),
            ("'cat'\ndog", "'cat'|dog"),
            ("\"a\" and \"b\"\nc", "\"a\" and \"b\"|c"),
            ("jack-o'-lantern\n5\"", "jack-o'-lantern|5\""),
        ] {
            assert_eq!(read(text), names, "{text:?}");
        }
    }

    #[test]
    fn comments_above_the_names_go_and_names_that_begin_so_stay() {
        for (text, names) in [
            ("# by label-tool 3\n#\n# animals\ncat\ndog", "cat|dog"),
            ("# animals\n\n0,cat\n1,dog", "cat|dog"),
            ("# a\n# b", "# a|# b"),
            ("cat\n# dog\nowl", "cat|# dog|owl"),
            ("# cat\n# dog\nowl\n# hen", "# cat|# dog|owl|# hen"),
            ("#1\n#2", "#1|#2"),
        ] {
            assert_eq!(read(text), names, "{text:?}");
        }
    }

    #[test]
    fn line_ends_of_every_system_are_ends() {
        for text in [
            "cat\ndog\nowl\n",
            "cat\r\ndog\r\nowl\r\n\r\n",
            "cat\rdog\rowl\r",
            "cat\r\ndog\nowl\r",
            "cat \n dog\nowl\n \n\t\n",
        ] {
            assert_eq!(read(text), "cat|dog|owl", "{text:?}");
        }
    }

    #[test]
    fn class_without_a_name_names_its_line() {
        for (text, line) in [
            ("cat\n\ndog\n", 2),
            (" \ncat\n", 1),
            ("cat\r\rdog", 2),
            ("0,cat\n1,\n2,owl", 2),
            ("cat\n\"\"\nowl", 2),
        ] {
            assert_eq!(
                parse(text),
                Err(LabelsError::BlankLine { line }),
                "{text:?}"
            );
        }
        assert_eq!(parse("\r\n\n"), Err(LabelsError::Empty));
    }
}
