//! How later files change earlier ones.

use super::tree::{Item, Table, Value, find};

/// What a later array does to an earlier one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrays {
    /// Arrays of tables merge by `name`: at the top level, as `[[model]]`.
    ByName,
    /// It replaces it: everywhere else.
    Replace,
}

/// Lays the tables of the files over each other, later ones on top. Tables merge key by key.
pub(super) fn all(files: Vec<Table>) -> Table {
    let mut merged = Table::new();
    for file in files {
        tables(&mut merged, file, Arrays::ByName);
    }
    merged
}

fn tables(under: &mut Table, over: Table, arrays: Arrays) {
    for entry in over {
        match under.iter_mut().find(|below| below.key == entry.key) {
            Some(below) => items(&mut below.item, entry.item, arrays),
            None => under.push(entry),
        }
    }
}

fn items(under: &mut Item, over: Item, arrays: Arrays) {
    match (&mut under.value, over.value) {
        (Value::Table(under), Value::Table(over)) => tables(under, over, Arrays::Replace),
        (Value::Array(under), Value::Array(over))
            if arrays == Arrays::ByName && are_tables(under) && are_tables(&over) =>
        {
            by_name(under, over);
        }
        (_, value) => *under = Item { at: over.at, value },
    }
}

/// A table of an earlier file is changed at most once per file: two of one name in the same file stay two, and
/// reading them reports the second.
fn by_name(under: &mut Vec<Item>, over: Vec<Item>) {
    let mut open = vec![true; under.len()];
    for item in over {
        let twin =
            (0..open.len()).find(|index| open[*index] && name(&item).is_some_and(|n| name(&under[*index]) == Some(n)));
        match twin {
            Some(index) => {
                open[index] = false;
                items(&mut under[index], item, Arrays::Replace);
            }
            None => under.push(item),
        }
    }
}

fn are_tables(items: &[Item]) -> bool {
    items.iter().all(|item| matches!(item.value, Value::Table(_)))
}

fn name(item: &Item) -> Option<&str> {
    let Value::Table(table) = &item.value else { return None };
    match &find(table, "name")?.item.value {
        Value::Text(name) => Some(name),
        _ => None,
    }
}
