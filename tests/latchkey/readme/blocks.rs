//! The blocks of README.md and other documents: what is pasted, what it prints, and what a test has to know of it.
//!
//! An HTML comment `<!-- test: … -->` before a block says how it differs: `serves` (it goes on until it is stopped),
//! `external` (in another terminal, with a PostgreSQL of one's own), `restarts the server afterwards`, `replaced: why`,
//! `skipped, why`.

/// A block that is pasted.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// The line of README.md that it begins in.
    pub(super) line: usize,
    /// What the comment before it says.
    pub(super) note: String,
    /// The commands.
    pub(crate) text: String,
    /// What is shown of its output.
    pub(super) output: String,
}

impl Block {
    /// Whether the comment before it says this.
    pub(super) fn is(&self, note: &str) -> bool {
        self.note.split(',').any(|part| part.trim().starts_with(note))
    }
}

/// The blocks of a language. A `text` block that follows one, before the next that is pasted, shows its output.
pub(crate) fn blocks(readme: &str, language: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut note, mut is_last) = (String::new(), false);
    let mut lines = readme.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some(comment) = line.strip_prefix("<!-- test: ") {
            note = comment.trim_end_matches("-->").trim().to_owned();
            continue;
        }
        let Some(fence) = line.strip_prefix("```") else {
            if !line.is_empty() {
                note.clear();
            }
            continue;
        };
        let text: String = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| *line != "```")
            .flat_map(|line| [line, "\n"])
            .collect();
        let note = std::mem::take(&mut note);
        if fence == language {
            blocks.push(Block { line: number + 1, note, text, output: String::new() });
            is_last = true;
        } else if let ("text", true, Some(block)) = (fence, is_last, blocks.last_mut()) {
            block.output = text;
            is_last = false;
        } else {
            is_last = false;
        }
    }
    blocks
}

/// Asserts that output has the lines that README.md shows, in their order. `…` stands for anything, any space for any other.
pub(super) fn assert_shows(block: &Block, output: &str) {
    let mut lines = output.lines().map(collapsed);
    for shown in block.output.lines().filter(|line| !line.trim().is_empty()) {
        let shown = collapsed(shown);
        assert!(
            lines.any(|line| matches(&shown, &line)),
            "README.md:{} shows this line, which is not there, or not in this place:\n{shown}\nThe output is:\n{output}",
            block.line
        );
    }
}

fn collapsed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn matches(shown: &str, line: &str) -> bool {
    let pieces: Vec<&str> = shown.split('…').map(str::trim).collect();
    let [first, middle @ ..] = pieces.as_slice() else { return false };
    let Some((last, middle)) = middle.split_last() else { return line == shown };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for piece in middle {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[test]
fn a_block_knows_its_note_and_its_output() {
    let readme = "a\n<!-- test: skipped, since x -->\n```sh\nb\n```\nc\n```text\nd\n```\n```text\ne\n```\n```sh\nf\n```\n```sql\ng\n```\n```text\nh\n```\n";
    let blocks = blocks(readme, "sh");
    let [first, second] = blocks.as_slice() else { panic!("{blocks:?}") };
    assert_eq!((first.line, first.text.as_str(), first.output.as_str()), (3, "b\n", "d\n"));
    assert!(first.is("skipped") && first.is("since x") && !first.is("serves"));
    assert_eq!((second.text.as_str(), second.output.as_str(), second.note.as_str()), ("f\n", "", ""));
}

#[test]
fn an_ellipsis_stands_for_anything_and_nothing_else_does() {
    for (shown, line, expected) in [
        ("a b", "a b", true),
        ("a b", "a b c", false),
        ("a …", "a b c", true),
        ("… c", "a b c", true),
        ("a … c", "a b c", true),
        ("a … x … c", "a b c", false),
        ("… b …", "a b c", true),
        ("gitpod_pat_…", "gitpod_pat_abc", true),
    ] {
        assert_eq!(matches(shown, line), expected, "{shown} / {line}");
    }
}
