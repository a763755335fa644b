//! `docs/CONFIGURATION.md` and the flags of `resnet serve` are one list: names, variables, defaults.

use crate::cli::run;

/// What help, or the table, says of a flag.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flag {
    name: String,
    variable: String,
    /// As help tells it; empty where there is none.
    default: String,
}

/// The text between two marks.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

/// The flags of `resnet serve --help`.
fn helped() -> Vec<Flag> {
    let (code, help, _) = run(&["serve", "--help"]);
    assert_eq!(code, 0);
    let is_flag = |line: &str| {
        let line = line.trim_start();
        line.starts_with("--") || line.starts_with('-') && line.contains(", --")
    };
    let mut blocks: Vec<String> = Vec::new();
    for line in help.lines().skip_while(|l| !is_flag(l)) {
        match blocks.last_mut() {
            Some(block) if !is_flag(line) => *block += &format!(" {}", line.trim()),
            _ => blocks.push(line.trim().to_owned()),
        }
    }
    let flag = |block: &String| {
        let mut words = block.split_whitespace();
        let name = words.find(|w| w.starts_with("--")).expect("a long name");
        Flag {
            name: name.trim_end_matches([',', ']']).to_owned(),
            variable: between(block, "[env: ", "=").unwrap_or_default().to_owned(),
            default: between(block, "[default: ", "]")
                .unwrap_or_default()
                .to_owned(),
        }
    };
    let flags = blocks.iter().map(flag);
    flags
        .filter(|f| f.name != "--help" && f.name != "--version")
        .collect()
}

/// The rows of the table that name a flag.
fn documented() -> Vec<Flag> {
    let document = include_str!("../../docs/CONFIGURATION.md");
    let rows = document.lines().filter(|l| l.starts_with("| `--"));
    let rows = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    let word = |cell: &str| cell.trim_matches(['|', ' ', '`']).to_owned();
    let flags = rows.filter(|cells| cells.len() == 5).map(|cells| Flag {
        name: word(cells[0]),
        variable: word(cells[1]),
        default: cells[2].replace('`', ""),
    });
    flags.collect()
}

#[test]
fn table_has_every_flag_with_its_variable_and_default_and_no_other() {
    let (mut helped, mut documented) = (helped(), documented());
    helped.sort();
    documented.sort();
    let names = |flags: &[Flag]| flags.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
    assert!(helped.len() > 30, "{helped:?}");
    assert_eq!(names(&helped), names(&documented));
    for (help, table) in helped.iter().zip(&documented) {
        assert_eq!(help.variable, table.variable, "{}", help.name);
        // Where help has no default, the table says what that means: none, off, no TLS.
        if !help.default.is_empty() {
            assert_eq!(help.default, table.default, "{}", help.name);
        }
    }
}
