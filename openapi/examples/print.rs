//! Prints the document, without the rest of the workspace.

fn main() {
    print!("{}", jraze_openapi::spec::yaml());
}
