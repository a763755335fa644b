//! Labels as a table with a head line, which says in which column the names are.
//!
//! Called by `lines` before it looks at a line as a name.

use std::borrow::Cow;

use super::lines::{by_number, unquoted};
use super::split_wnid;

/// Heads of columns of names, the better first.
const NAMES: [&str; 12] = [
    "class_name",
    "label_name",
    "category_name",
    "display_name",
    "name",
    "label",
    "class",
    "category",
    "description",
    "class name",
    "labels",
    "classes",
];

/// Heads of columns of numbers.
const NUMBERS: [&str; 12] = [
    "",
    "#",
    "id",
    "idx",
    "index",
    "number",
    "class_id",
    "class_idx",
    "class_index",
    "label_id",
    "label_idx",
    "class id",
];

/// Whether a line can stand above a column of names.
pub(super) fn is_head_of_names(line: &str) -> bool {
    NAMES.iter().any(|name| line.eq_ignore_ascii_case(name))
}

/// Whether the column of numbers in a table of two, the first or the last, is headed as that of the classes.
pub(super) fn is_head_of_numbers(line: &str, is_first: bool) -> bool {
    let mut fields = line.split([',', ';', '\t']).map(str::trim);
    let head = if is_first {
        fields.next()
    } else {
        fields.next_back()
    };
    let head = unquoted(head.unwrap_or_default());
    NUMBERS.iter().any(|name| head.eq_ignore_ascii_case(name))
}

/// The names of a table of three columns and more, or of one with nothing but its head; in the order of the numbers, if
/// there is a column of these. None if it is no such table.
pub(super) fn names<'a>(lines: &[&'a str]) -> Option<Vec<Cow<'a, str>>> {
    let (head, rest) = lines.split_first()?;
    let mark = [',', ';', '\t']
        .into_iter()
        .max_by_key(|m| head.matches(*m).count())?;
    let heads = fields(head, mark);
    let column = |known: &[&str]| {
        let position = |name: &&str| heads.iter().position(|h| h.eq_ignore_ascii_case(name));
        known.iter().find_map(position)
    };
    // Two columns tell themselves by their numbers, and one by what is in it.
    if heads.len() < 3 || rest.is_empty() {
        return None;
    }
    let of_names = column(&NAMES)?;
    let rows: Vec<Vec<Cow<'a, str>>> = rest.iter().map(|line| fields(line, mark)).collect();
    // Synset ids and what stands behind them are read together.
    let is_other = |row: &Vec<Cow<'a, str>>| {
        row.len() != heads.len() || row.iter().any(|field| split_wnid(field).is_some())
    };
    if rows.iter().any(is_other) {
        return None;
    }
    let numbers = column(&NUMBERS).filter(|c| *c != of_names);
    let number = |row: &[Cow<'a, str>]| row[numbers?].parse::<usize>().ok();
    let numbered: Option<Vec<_>> = rows
        .iter()
        .map(|row| Some((number(row)?, row[of_names].clone())))
        .collect();
    let in_order = || rows.iter().map(|row| row[of_names].clone()).collect();
    Some(numbered.and_then(by_number).unwrap_or_else(in_order))
}

/// The fields of a line of CSV, in which quotes protect the mark between them.
fn fields(line: &str, mark: char) -> Vec<Cow<'_, str>> {
    let mut is_quoted = false;
    let between = |c: char| {
        is_quoted ^= c == '"';
        c == mark && !is_quoted
    };
    line.split(between)
        .map(|field| unquoted(field.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        let lines: Vec<&str> = text.lines().collect();
        Some(names(&lines)?.join("|"))
    }

    #[test]
    fn head_line_says_where_the_names_are() {
        for text in [
            "index,name,count\n0,cat,17\n1,\"dog, small\",3\n2,owl,8",
            "name,id,split\ncat,0,train\n\"dog, small\",1,train\nowl,2,train",
            "id;wnid;class_name;source\n1;n1;owl;a\n2;n2;cat;b\n0;n0;cat;c",
            "id\tlabel\tcolor\n2\towl\tred\n0\tcat\tred\n1\tdog, small\tred",
        ] {
            let names = read(text).expect(text);
            let expected = if text.contains(';') {
                "cat|owl|cat"
            } else {
                "cat|dog, small|owl"
            };
            assert_eq!(names, expected, "{text:?}");
        }
        // Numbers that are those of another table.
        let other = "id,name,kind\n7,cat,a\n9,dog,b";
        assert_eq!(read(other).as_deref(), Some("cat|dog"));
    }

    #[test]
    fn anything_else_is_no_table() {
        for text in [
            "cat\ndog",
            "index,name\n0,cat\n1,dog",
            "tench, Tinca tinca, name\ngoldfish",
            "red, green, blue\na, b, c",
            "name,a,b",
            "id,name,count\n0,cat\n1,dog,3",
            "index,wnid,name\n0,n02121620,cat\n1,n02084071,dog",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
