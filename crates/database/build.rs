//! A new migration is a file that the macro which embeds them does not name: the compiler has to be told to look.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
