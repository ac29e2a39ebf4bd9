//! CSV: a header, then one device a row. Read twice: once for the types of the columns, once to
//! send.

use std::{fs::File, path::Path};

use csv::{Position, ReaderBuilder, StringRecord, Trim};
use serde_json::{Map, Value, json};

use super::{
    Chunk, ReadError, Rejected,
    columns::{self, Column, Field, Kind, Mapping},
};

/// Cuts the file into chunks and gives each to `emit`, until it answers false.
pub(crate) fn read(
    path: &Path,
    mappings: &[Mapping],
    mut emit: impl FnMut(Chunk) -> bool,
) -> Result<(), ReadError> {
    let broken = |source| ReadError::Csv {
        path: path.to_owned(),
        source,
    };
    let columns = typed_columns(path, mappings)?;

    let mut reader = open(path)?;
    // The header was looked at by `typed_columns`; asking for it makes the reader skip it.
    reader.byte_headers().map_err(broken)?;
    let mut chunk = Chunk::default();
    let mut record = StringRecord::new();
    let mut offset = 0;
    loop {
        let row = match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {
                let number = record.position().map_or(0, Position::line);
                device(&columns, &record)
                    .map_err(|fault| fault.rejects(number, &record))
                    .map(|device| (number, device))
            }
            Err(error) => Err(unreadable(error).map_err(broken)?),
        };
        let position = reader.position().byte();
        chunk.bytes_read += position - offset;
        offset = position;
        match row {
            Ok((number, device)) => chunk.push(number, device.to_string().as_bytes()),
            Err(rejected) => chunk.rejected.push(rejected),
        }
        if chunk.is_full() && !emit(std::mem::take(&mut chunk)) {
            return Ok(());
        }
    }
    if !chunk.is_empty() {
        emit(chunk);
    }
    Ok(())
}

fn open(path: &Path) -> Result<csv::Reader<File>, ReadError> {
    let file = File::open(path).map_err(|source| ReadError::Io {
        path: path.to_owned(),
        source,
    })?;
    Ok(ReaderBuilder::new().trim(Trim::All).from_reader(file))
}

/// What the columns are, with a type for every property.
fn typed_columns(path: &Path, mappings: &[Mapping]) -> Result<Vec<Column>, ReadError> {
    let broken = |source| ReadError::Csv {
        path: path.to_owned(),
        source,
    };
    let mut reader = open(path)?;
    let header = reader.headers().map_err(broken)?.clone();
    let names: Vec<_> = header
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}'))
        .collect();
    let resolved = columns::resolve(&names, mappings);
    let mut columns = resolved.map_err(|message| ReadError::Columns {
        path: path.to_owned(),
        message,
    })?;

    let mut inferred: Vec<Option<Kind>> = vec![None; columns.len()];
    let mut record = StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => break,
            // Rows that cannot be read are reported by the second pass.
            Err(error) => {
                unreadable(error).map_err(broken)?;
            }
            Ok(true) => {
                for (kind, cell) in inferred.iter_mut().zip(record.iter()) {
                    if !cell.is_empty() && *kind != Some(Kind::Text) {
                        let of_cell = Kind::of(cell);
                        *kind = Some(kind.map_or(of_cell, |kind| kind.and(of_cell)));
                    }
                }
            }
        }
    }
    for (column, inferred) in columns.iter_mut().zip(inferred) {
        if let Column::Property {
            kind: kind @ None, ..
        } = column
        {
            *kind = Some(inferred.unwrap_or(Kind::Text));
        }
    }
    Ok(columns)
}

/// A row that the CSV reader refuses but can go on after.
fn unreadable(error: csv::Error) -> Result<Rejected, csv::Error> {
    let (position, reason) = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => (
            pos,
            format!("the row has {len} cells, the header has {expected_len}"),
        ),
        csv::ErrorKind::Utf8 { pos, .. } => (pos, "the row is not UTF-8".to_owned()),
        _ => return Err(error),
    };
    let line = position.as_ref().map_or(0, Position::line);
    Ok(Rejected {
        line,
        code: "invalid_row".into(),
        reason,
        pointer: None,
        input: String::new(),
    })
}

/// What is wrong with a row.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    pointer: String,
    reason: String,
}

impl Fault {
    fn rejects(self, line: u64, record: &StringRecord) -> Rejected {
        let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
        // Writing a record to memory cannot fail; an empty input is no loss beside the line number.
        let bytes = writer
            .write_record(record)
            .ok()
            .and_then(|()| writer.into_inner().ok());
        let input = String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default();
        Rejected {
            line,
            code: "invalid_row".into(),
            reason: self.reason,
            pointer: Some(self.pointer),
            input: input.trim_end().to_owned(),
        }
    }
}

/// The import line of a row. Empty cells are absent.
fn device(columns: &[Column], record: &StringRecord) -> Result<Value, Fault> {
    let mut device = Map::new();
    let mut properties = Map::new();
    for (column, cell) in columns.iter().zip(record.iter()) {
        if cell.is_empty() {
            continue;
        }
        match column {
            Column::LeftOut => {}
            Column::Field(field @ (Field::SendPlatform | Field::DevicePlatform)) => {
                let number = columns::platform(*field, cell).ok_or_else(|| Fault {
                    pointer: format!("/{}", field.name()),
                    reason: format!("{cell:?} is no {}", field.name()),
                })?;
                device.insert(field.name().to_owned(), json!(number));
            }
            Column::Field(field) => {
                device.insert(field.name().to_owned(), json!(cell));
            }
            Column::Property { key, kind } => {
                let kind = kind.unwrap_or(Kind::Text);
                let value = kind.value(cell).ok_or_else(|| Fault {
                    pointer: format!("/properties/{key}"),
                    reason: format!("{cell:?} is no {}", kind.name()),
                })?;
                properties.insert(key.clone(), value);
            }
        }
    }
    let platform = device
        .entry(Field::DevicePlatform.name())
        .or_insert(json!(0))
        .clone();
    // The provider follows from the platform unless a column says otherwise.
    device.entry(Field::SendPlatform.name()).or_insert(platform);
    if !properties.is_empty() {
        device.insert("properties".to_owned(), Value::Object(properties));
    }
    Ok(Value::Object(device))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use serde_json::{Value, json};

    use super::read;
    use crate::import::Rejected;

    fn imported(text: &[u8], maps: &[&str]) -> (Vec<Value>, Vec<Rejected>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let maps: Vec<_> = maps.iter().map(|map| map.parse().unwrap()).collect();
        let (mut devices, mut rejected, mut bytes) = (Vec::new(), Vec::new(), 0);
        read(file.path(), &maps, |chunk| {
            let lines = chunk
                .body
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty());
            devices.extend(lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()));
            rejected.extend(chunk.rejected);
            bytes += chunk.bytes_read;
            true
        })
        .unwrap();
        assert!(bytes <= fs::metadata(file.path()).unwrap().len());
        (devices, rejected)
    }

    #[test]
    fn columns_become_fields_and_typed_properties_and_empty_cells_are_absent() {
        let text = b"\xEF\xBB\xBFexternal_id,push_token,device_platform,age,score,vip,plan\n\
            u1,tok1,android,31,1,true,gold\n\
            u2,tok2,ios,,2.5,false,\n";
        let (devices, rejected) = imported(text, &[]);
        assert_eq!(rejected, []);
        assert_eq!(
            devices[0],
            json!({"external_id": "u1", "push_token": "tok1", "device_platform": 1, "send_platform": 1,
                   "properties": {"age": 31, "score": 1.0, "vip": true, "plan": "gold"}})
        );
        assert_eq!(
            devices[1],
            json!({"external_id": "u2", "push_token": "tok2", "device_platform": 2, "send_platform": 2,
                   "properties": {"score": 2.5, "vip": false}})
        );
    }

    #[test]
    fn mappings_rename_and_type_columns() {
        let text = b"uid,send_platform,zip,tags,notes\nu1,APNS,08001,a;b,x\n";
        let maps = [
            "uid=external_id",
            "zip=postal_code:string",
            "tags=tags:list",
            "notes=",
        ];
        let (devices, _) = imported(text, &maps);
        assert_eq!(
            devices[0],
            json!({"external_id": "u1", "device_platform": 0, "send_platform": 2,
                   "properties": {"postal_code": "08001", "tags": ["a", "b"]}})
        );
    }

    #[test]
    fn a_wrong_row_is_rejected_with_its_line_and_the_rest_goes_on() {
        let text = b"external_id,device_platform,age\nu1,android,31\nu2,palm,3\nu3\nu4,\xff,1\nu5,ios,1\n";
        let (devices, rejected) = imported(text, &["age=age:int"]);
        let ids: Vec<_> = devices
            .iter()
            .map(|device| device["external_id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["u1", "u5"]);
        let lines: Vec<_> = rejected.iter().map(|rejected| rejected.line).collect();
        assert_eq!(lines, [3, 4, 5]);
        assert_eq!(rejected[0].pointer.as_deref(), Some("/device_platform"));
        assert_eq!(rejected[0].input, "u2,palm,3");
    }
}
