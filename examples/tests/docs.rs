//! Pages that walk through an example quote it as it is.

/// Every block of Rust in the page is in the program, line for line, whatever its indentation.
fn quotes(page: &str, program: &str) {
    let program: Vec<&str> = program.lines().map(str::trim).collect();
    let mut blocks = 0;
    for block in page.split("```rust\n").skip(1) {
        let Some((block, _)) = block.split_once("\n```") else {
            panic!("a block of code has no end");
        };
        let block: Vec<&str> = block.lines().map(str::trim).collect();
        assert!(
            program.windows(block.len()).any(|lines| lines == block),
            "the example has no such lines:\n{}",
            block.join("\n")
        );
        blocks += 1;
    }
    assert!(blocks > 5, "the page has only {blocks} blocks of code");
}

#[test]
fn the_tutorial_quotes_its_example() {
    let page = include_str!("../../docs/tutorial.md");
    let program = include_str!("../tutorial.rs");
    quotes(page, program);

    // All of it, so that whoever copies the blocks has a program.
    let copied: Vec<&str> = page.lines().map(str::trim).collect();
    let is_ours = |line: &str| line.starts_with("//!") || line.starts_with("#[expect(clippy::");
    for line in program.lines().map(str::trim) {
        assert!(
            copied.contains(&line) || is_ours(line),
            "not in the page: {line}"
        );
    }
}

#[test]
fn writing_a_transport_quotes_its_example() {
    quotes(
        include_str!("../../docs/writing-a-transport.md"),
        include_str!("../tcp-transport.rs"),
    );
}
