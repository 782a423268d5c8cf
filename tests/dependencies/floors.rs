//! The files of a crate import downward: they form no circle, and no import goes from a lower floor to a higher one.
//!
//! A file's imports are the paths in its code, in `use` lines and elsewhere, that lead to another file of the same crate. A
//! re-export is followed to the file that defines the item. Test code does not count, and neither does an import of a file's
//! own ancestor: a module and its parts are one unit. So `lib.rs`, which declares and re-exports, may be imported by all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A module by its path from the crate's root, which is the empty path.
type Module = Vec<String>;

/// The floors of crates that have several, from the top down. A floor lists files and folders of `src`.
const FLOORS: &[(&str, &[&[&str]])] = &[(
    "blogs-api",
    &[
        &["service"],
        &["routes"],
        &["pages"],
        &["api"],
        &["state"],
        &["settings", "readiness"],
        &["acceptance"],
        &["live_blogs", "outbox", "clock_check", "auth"],
        &["account", "bounds"],
    ],
)];

/// What is declared or imported in a file.
#[derive(Debug, Default)]
struct File {
    children: Vec<String>,
    /// What `use` lines bind: the name, and the path that it stands for.
    bound: Vec<(String, Vec<String>)>,
    /// Paths of several segments outside of `use` lines.
    paths: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Crate {
    name: String,
    files: BTreeMap<Module, File>,
}

impl Crate {
    fn read(folder: &Path) -> Option<Self> {
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).ok()?;
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = \""))?;
        let root = ["src/lib.rs", "src/main.rs"].map(|file| folder.join(file));
        let root = root.iter().find(|file| file.is_file())?;
        let mut read = Self { name: name.trim_end_matches('"').to_owned(), files: BTreeMap::new() };
        read.add(Vec::new(), root, &folder.join("src"));
        Some(read)
    }

    fn add(&mut self, module: Module, path: &Path, folder: &Path) {
        let file = File::read(&fs::read_to_string(path).unwrap());
        for child in &file.children {
            let path = folder.join(format!("{child}.rs"));
            if path.is_file() {
                self.add(joined(&module, child), &path, &folder.join(child));
            }
        }
        self.files.insert(module, file);
    }

    /// Every import of one file by another.
    fn imports(&self) -> BTreeSet<(&Module, &Module)> {
        let mut imports = BTreeSet::new();
        for (module, file) in &self.files {
            for path in file.bound.iter().map(|(_, path)| path).chain(&file.paths) {
                let imported = self.defined_in(module, path, 0);
                if let Some(imported) = imported.filter(|imported| !module.starts_with(imported)) {
                    imports.insert((module, imported));
                }
            }
        }
        imports
    }

    /// The module that defines the item to which `path` refers in `module`; none for other crates.
    fn defined_in(&self, module: &Module, path: &[String], depth: usize) -> Option<&Module> {
        let (mut found, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), path.get(1..)?),
            "self" => (module.clone(), path.get(1..)?),
            "super" => {
                let climbed = path.iter().take_while(|segment| *segment == "super").count();
                (module.get(..module.len().checked_sub(climbed)?)?.to_vec(), path.get(climbed..)?)
            }
            own if self.files.contains_key(&joined(module, own)) => (module.clone(), path),
            _ => return None,
        };
        while let Some((next, further)) = rest.split_first() {
            let deeper = joined(&found, next);
            if !self.files.contains_key(&deeper) {
                break;
            }
            (found, rest) = (deeper, further);
        }
        let (found, file) = self.files.get_key_value(&found)?;
        let Some((name, further)) = rest.split_first().filter(|_| depth < 8) else { return Some(found) };
        let Some((_, meant)) = file.bound.iter().find(|(bound, _)| bound == name) else { return Some(found) };
        let meant = [meant.as_slice(), further].concat();
        if found == module && meant == path {
            return Some(found);
        }
        self.defined_in(found, &meant, depth + 1).or(Some(found))
    }

    /// A sentence for each circle, with the imports that make it.
    fn circles(&self) -> Vec<String> {
        let imports = self.imports();
        let reached: BTreeMap<&Module, BTreeSet<&Module>> =
            self.files.keys().map(|module| (module, reachable(&imports, module))).collect();
        let circles: BTreeSet<Vec<&Module>> = self
            .files
            .keys()
            .map(|module| {
                let others = reached[module].iter().filter(|other| reached[**other].contains(module));
                others.copied().collect::<Vec<_>>()
            })
            .filter(|circle| !circle.is_empty())
            .collect();
        circles.iter().map(|circle| self.circle(circle, &imports)).collect()
    }

    fn circle(&self, circle: &[&Module], imports: &BTreeSet<(&Module, &Module)>) -> String {
        let mut text = format!("{}: {} files import each other in a circle\n", self.name, circle.len());
        for (importer, imported) in imports {
            if circle.contains(importer) && circle.contains(imported) {
                writeln!(text, "    {} imports {}", shown(importer), shown(imported)).unwrap();
            }
        }
        text
    }

    /// A sentence for each import that climbs, and for each module that has no floor.
    fn climbing(&self, floors: &[&[&str]]) -> Vec<String> {
        let height = |module: &Module| {
            let top = module.first()?;
            floors.iter().rev().position(|floor| floor.contains(&top.as_str()))
        };
        let (name, mut found) = (&self.name, Vec::new());
        for module in self.files.keys().filter(|module| module.len() == 1 && height(module).is_none()) {
            found.push(format!("{name}: {} has no floor", shown(module)));
        }
        for (importer, imported) in self.imports() {
            if height(importer).zip(height(imported)).is_some_and(|(from, to)| from < to) {
                found.push(format!("{name}: {} imports {} above it", shown(importer), shown(imported)));
            }
        }
        found
    }
}

impl File {
    fn read(text: &str) -> Self {
        let tokens = without_tests(tokens(text));
        let (mut file, mut place) = (Self::default(), 0);
        while let Some(token) = tokens.get(place) {
            let next = tokens.get(place + 1).map_or("", String::as_str);
            match token.as_str() {
                "mod" if tokens.get(place + 2).is_some_and(|token| token == ";") => {
                    file.children.push(next.to_owned());
                    place += 3;
                }
                "use" if next != "<" => {
                    place += 1;
                    read_use(&tokens, &mut place, &[], &mut file.bound);
                }
                _ if is_word(token) => {
                    let mut path = vec![token.clone()];
                    place += 1;
                    while tokens.get(place).is_some_and(|token| token == "::")
                        && let Some(segment) = tokens.get(place + 1).filter(|segment| is_word(segment))
                    {
                        path.push(segment.clone());
                        place += 2;
                    }
                    if path.len() > 1 {
                        file.paths.push(path);
                    }
                }
                // A path from the outermost scope names another crate.
                "::" => place += 2,
                _ => place += 1,
            }
        }
        file
    }
}

/// Reads one branch of a `use` line's tree; `before` is the path in front of it.
fn read_use(tokens: &[String], place: &mut usize, before: &[String], bound: &mut Vec<(String, Vec<String>)>) {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(*place) {
        match token.as_str() {
            "{" => {
                *place += 1;
                while tokens.get(*place).is_some_and(|token| token != "}") {
                    read_use(tokens, place, &path, bound);
                    *place += usize::from(tokens.get(*place).is_some_and(|token| token == ","));
                }
                *place += 1;
                return;
            }
            "as" => {
                bound.push((tokens.get(*place + 1).cloned().unwrap_or_default(), path));
                *place += 2;
                return;
            }
            "," | "}" | ";" => break,
            "::" if path.is_empty() => path.push(String::from("::")),
            "::" => {}
            "self" if !before.is_empty() => {}
            segment => path.push(segment.to_owned()),
        }
        *place += 1;
    }
    if let Some(name) = path.last() {
        bound.push((name.clone(), path));
    }
}

/// The words and punctuation of a file, without comments and literals.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let (mut tokens, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|character: char| !is_part_of_word(character)).unwrap_or(rest.len());
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if first == '"' {
            string(rest)
        } else if first == '\'' {
            character(rest)
        } else if word > 0 {
            tokens.push(rest[..word].to_owned());
            word
        } else if rest.starts_with("::") {
            tokens.push(String::from("::"));
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

fn raw_string(text: &str) -> Option<usize> {
    let start = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let opened = start.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(start.len() - opened.len()));
    let body = opened.strip_prefix('"')?;
    Some(text.len() - body.len() + body.find(&end)? + end.len())
}

fn string(text: &str) -> usize {
    let mut is_escaped = false;
    for (place, character) in text.char_indices().skip(1) {
        match character {
            '"' if !is_escaped => return place + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    text.len()
}

/// The length of a character literal; 1 for the sign that begins a lifetime.
fn character(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1);
    match (characters.next(), characters.next()) {
        (Some((_, '\\')), Some((place, _))) => {
            text[place + 1..].find('\'').map_or(1, |end| place + 1 + end + 1)
        }
        (_, Some((place, '\''))) => place + 1,
        _ => 1,
    }
}

/// Leaves out every item under `#[cfg(test)]`.
pub(super) fn without_tests(tokens: Vec<String>) -> Vec<String> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut place) = (Vec::with_capacity(tokens.len()), 0);
    while let Some(token) = tokens.get(place) {
        if !tokens[place..].iter().take(ATTRIBUTE.len()).eq(ATTRIBUTE) {
            kept.push(token.clone());
            place += 1;
            continue;
        }
        place += ATTRIBUTE.len();
        let mut depth = 0_usize;
        while let Some(token) = tokens.get(place) {
            place += 1;
            match token.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(token.as_str(), "}" | ";") {
                break;
            }
        }
    }
    kept
}

fn is_part_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

pub(super) fn is_word(token: &str) -> bool {
    token.starts_with(is_part_of_word)
}

fn joined(module: &Module, child: &str) -> Module {
    module.iter().cloned().chain([child.to_owned()]).collect()
}

fn shown(module: &Module) -> String {
    if module.is_empty() { String::from("the root") } else { module.join("::") }
}

pub(super) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every crate of the workspace that has a folder `src`.
fn crates() -> Vec<Crate> {
    let groups = ["", "crates", "services", "lab"].map(|group| workspace().join(group));
    let folders = groups.iter().flat_map(|group| fs::read_dir(group).unwrap());
    let mut crates: Vec<Crate> = folders.filter_map(|folder| Crate::read(&folder.unwrap().path())).collect();
    crates.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(crates.len() > 12, "only {} crates were found", crates.len());
    crates
}

#[test]
fn files_of_a_crate_have_no_import_cycles() {
    let circles: Vec<String> = crates().iter().flat_map(Crate::circles).collect();
    assert!(circles.is_empty(), "{} circles\n{}", circles.len(), circles.concat());
}

#[test]
fn imports_go_down_the_floors() {
    let crates = crates();
    let mut climbing = Vec::new();
    for (name, floors) in FLOORS {
        let of_floors = crates.iter().find(|found| found.name == *name).unwrap();
        climbing.extend(of_floors.climbing(floors));
    }
    assert!(climbing.is_empty(), "{} imports climb\n{}", climbing.len(), climbing.join("\n"));
}

/// A handler is called by the router alone. Pages and endpoints that do the same call the same plain function.
#[test]
fn handlers_are_not_called_with_forged_extractors() {
    fn look(path: &Path, found: &mut Vec<String>) {
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| look(&entry.unwrap().path(), found));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let tokens = without_tests(tokens(&fs::read_to_string(path).unwrap()));
            // In a parameter the pattern is followed by its type.
            let forged = tokens
                .windows(5)
                .filter(|part| part[0] == "State" && part[1] == "(" && part[3] == ")" && part[4] != ":");
            found.extend(forged.map(|part| format!("{}: {}", path.display(), part.concat())));
        }
    }
    let mut found = Vec::new();
    look(&workspace().join("services"), &mut found);
    assert!(found.is_empty(), "{} extractors are forged\n{}", found.len(), found.join("\n"));
}

#[test]
fn imports_are_found_and_followed_to_the_file_that_defines_the_item() {
    let files = [
        ("", "mod a; mod b; mod c; // mod d;"),
        ("a", "mod part; pub use part::{Deep, Other as Named}; use crate::b::{self, Thing};"),
        ("a::part", "use super::Above; fn f() { crate::c::call::<u8>(\"crate::b::x\"); }"),
        ("b", "#[cfg(test)] mod tests { use crate::c::call; } fn g<'a>() -> ::c::Foreign { ':' }"),
        ("c", "use crate::a::Named; /* use crate::b::Thing; */ const R: &str = r#\"crate::b::x\"#;"),
    ];
    let module = |path: &str| -> Module {
        path.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let files = files.into_iter().map(|(path, text)| (module(path), File::read(text))).collect();
    let example = Crate { name: String::from("example"), files };
    let imports: Vec<(String, String)> =
        example.imports().into_iter().map(|(from, to)| (shown(from), shown(to))).collect();
    let expected = [("a", "a::part"), ("a", "b"), ("a::part", "c"), ("c", "a::part")];
    assert_eq!(imports, expected.map(|(from, to)| (from.to_owned(), to.to_owned())));
    let circles = example.circles();
    assert!(matches!(circles.as_slice(), [circle] if circle.contains("2 files")), "{circles:?}");
    let climbing = example.climbing(&[&["a"], &["c"]]);
    assert_eq!(climbing, ["example: b has no floor", "example: c imports a::part above it"]);
}

/// Every module that `from` imports, directly or through others.
fn reachable<'a>(imports: &BTreeSet<(&'a Module, &'a Module)>, from: &'a Module) -> BTreeSet<&'a Module> {
    let (mut reached, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(next) = left.pop() {
        let imported = imports.iter().filter(|(importer, _)| *importer == next);
        left.extend(imported.map(|(_, imported)| *imported).filter(|imported| reached.insert(*imported)));
    }
    reached
}
