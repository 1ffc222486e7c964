//! Reading the text of a graph: what `Display` prints, pasted into a test or a report, is the graph again.

use std::collections::HashMap;
use std::panic::Location;

use super::{Graph, NodeId, Operator, Target};
use crate::error::{Error, Result};
use crate::types::{TensorType, parse_numbers};

/// An operator's text, cut where every operator's is: `sum[0,1] f32[4]` is the name `sum`, the attributes `0,1` and the
/// type. What follows the name behind a space, as in `input x`, is attributes too.
pub struct OpText<'t> {
    pub name: &'t str,
    pub attributes: &'t str,
    pub ty: TensorType,
}

impl<'t> OpText<'t> {
    fn new(op: &'t str, ty: TensorType) -> OpText<'t> {
        let at = op.find(['[', ' ']).unwrap_or(op.len());
        let (name, rest) = op.split_at(at);
        let attributes = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(rest);
        OpText { name, attributes: attributes.trim(), ty }
    }

    /// The attributes as numbers with commas between them.
    pub fn numbers(&self) -> Option<Vec<usize>> {
        parse_numbers(self.attributes)
    }
}

/// The line as far as it is read, and what is wrong with it otherwise.
type Line<T> = Result<T, String>;

struct Reader<O> {
    graph: Graph<O>,
    /// By the number in the text.
    nodes: HashMap<u32, NodeId>,
    results: Vec<(Target, NodeId)>,
    /// The last body that stood below a node; nodes that share it follow one another.
    body: Option<Graph<O>>,
    at: &'static Location<'static>,
}

impl<O: Operator> Graph<O> {
    /// Reads a graph from the text that it prints as. Origins, behind `;`, are left out: every node comes from the
    /// call of this function. Numbers of nodes may have gaps; blank lines do not matter.
    ///
    /// # Errors
    /// [`Error::Text`], with the number of the line and what was expected there.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::parse(
    ///     "%0 = input x f32[3]
    ///      %1 = tanh f32[3] (%0)
    ///      %2 = sum[0] f32[] (%1)
    ///      output y = %2",
    /// )?;
    /// assert_eq!(Graph::parse(&g.to_string())?.to_string(), g.to_string());
    /// let message = Graph::parse("%0 = input x f32[3]\n%1 = tan f32[4] (%0)").unwrap_err().to_string();
    /// assert_eq!(message, "line 2 of the graph's text: `tan` gives f32[3] here, not f32[4]");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn parse(text: &str) -> Result<Graph<O>> {
        let mut reader = Reader {
            graph: Graph::new(),
            nodes: HashMap::new(),
            results: Vec::new(),
            body: None,
            at: Location::caller(),
        };
        let mut lines = text.lines().enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let mut body = String::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| line.trim_start().starts_with('|')) {
                body += line.trim_start().trim_start_matches('|');
                body += "\n";
            }
            reader.read_body(&body, index + 1)?;
            let line = without_origin(line).trim();
            if !line.is_empty() {
                reader.read(line).map_err(|message| Error::Text { line: index + 1, message })?;
            }
        }
        reader.graph.set_results(reader.results);
        reader.graph.validate().map(|()| reader.graph)
    }
}

impl<O: Operator> Reader<O> {
    /// The body below the line of this number.
    fn read_body(&mut self, body: &str, above: usize) -> Result<()> {
        if !body.is_empty() {
            let within = |error| match error {
                Error::Text { line, message } => Error::Text { line: above + line, message },
                other => other,
            };
            self.body = Some(Graph::parse(body).map_err(within)?);
        }
        Ok(())
    }

    fn read(&mut self, line: &str) -> Line<()> {
        if line.starts_with('%') {
            let (number, node) =
                line.split_once(" = ").ok_or("expected `%number = operator type (operands)`")?;
            let number = node_number(number)?;
            let id = self.read_node(node)?;
            return match self.nodes.insert(number, id) {
                None => Ok(()),
                Some(_) => Err(format!("there is a node %{number} already")),
            };
        }
        let (target, node) =
            line.rsplit_once(" = ").ok_or("expected a node (`%0 = …`) or a result (`output y = %0`)")?;
        let target = match target.split_once(' ') {
            Some(("output", name)) => Target::Output(read_name(name)?),
            Some(("update", name)) => Target::Update(self.known_state(read_name(name)?)?),
            _ => return Err(format!("expected `output name` or `update name` before `=`, found `{target}`")),
        };
        let id = self.known(node)?;
        self.results.push((target, id));
        Ok(())
    }

    /// `operator type (operands)`.
    fn read_node(&self, text: &str) -> Line<NodeId> {
        let (head, operands) = match text.strip_suffix(')').and_then(|text| text.rsplit_once(" (")) {
            Some((head, operands)) => (head, operands.split(',').collect()),
            None => (text, vec![]),
        };
        let (op, ty) = head.rsplit_once(' ').ok_or("expected an operator and its result's type")?;
        let ty = TensorType::parse(ty)
            .ok_or_else(|| format!("expected a type such as `f32[2,3]` behind the operator, found `{ty}`"))?;
        let operands =
            operands.into_iter().map(|operand| self.known(operand)).collect::<Line<Vec<NodeId>>>()?;
        let op = read_operator::<O>(op, ty, self.body.as_ref())?;
        if op.leaf_name().is_some_and(|name| self.graph.leaf(name).is_some()) {
            return Err(format!("there is a leaf of the name of `{op}` already"));
        }
        let types: Vec<TensorType> = operands.iter().map(|&id| self.graph.ty(id)).collect();
        match op.infer(&types) {
            Ok(inferred) if inferred == ty => Ok(self.graph.insert(op, &operands, self.at)),
            Ok(inferred) => Err(format!("`{op}` gives {inferred} here, not {ty}")),
            Err(error) => Err(format!("`{op}`: {error}")),
        }
    }

    fn known(&self, text: &str) -> Line<NodeId> {
        let number = node_number(text)?;
        self.nodes.get(&number).copied().ok_or_else(|| format!("there is no node %{number} above"))
    }

    fn known_state(&self, name: String) -> Line<String> {
        match self.graph.leaf(&name) {
            Some(_) => Ok(name),
            None => Err(format!("there is no state `{name}` above to be updated")),
        }
    }
}

/// The operator that prints as this text.
fn read_operator<O: Operator>(text: &str, ty: TensorType, body: Option<&Graph<O>>) -> Result<O, String> {
    let plain = |text: &str| text.replace(' ', "");
    let op = O::parse(&OpText::new(text, ty), body);
    let op =
        op.ok_or_else(|| format!("`{text}` is no operator as graphs print it, such as `add` or `sum[0]`"))?;
    let printed = op.to_string();
    if plain(&printed) == plain(text) { Ok(op) } else { Err(format!("expected `{printed}`, found `{text}`")) }
}

fn node_number(text: &str) -> Line<u32> {
    let number = text.trim().strip_prefix('%').and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("expected a node's number such as `%3`, found `{}`", text.trim()))
}

/// The line up to ` ;`, which may stand inside a quoted name.
fn without_origin(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            ';' if !quoted && line[..at].ends_with(' ') => return &line[..at],
            _ => {}
        }
    }
    line
}

/// Whether a name prints as it is; others print in quotes, so that every line is read one way only.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_.-/".contains(c))
}

/// A name, in quotes or plain.
pub(crate) fn read_name(text: &str) -> Result<String, String> {
    let Some(quoted) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        let expected = || format!("expected a name, in quotes unless it is a word, found `{text}`");
        return is_plain(text).then(|| text.to_string()).ok_or_else(expected);
    };
    unescape(quoted).ok_or_else(|| format!("`{text}` has an escape that is none of Rust's"))
}

/// Undoes the escapes of Rust's `Debug`.
fn unescape(text: &str) -> Option<String> {
    let (mut name, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        name.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '0' => '\0',
                'u' => {
                    let code: String = chars.by_ref().skip(1).take_while(|&c| c != '}').collect();
                    char::from_u32(u32::from_str_radix(&code, 16).ok()?)?
                }
                other => other,
            },
            plain => plain,
        });
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_their_quotes() {
        for name in [
            "x",
            "encoder/layer-1.weight",
            "unit vector 3",
            "a;b",
            "\"",
            "\\",
            "é\u{7f}\n",
            "",
            "a = %1",
            "(%0)",
        ] {
            let printed = super::super::display::Named(name).to_string();
            assert_eq!(read_name(&printed).as_deref(), Ok(name), "{printed}");
            assert_eq!(
                without_origin(&format!("%0 = input {printed} f32[] ; user a;b")).trim_end(),
                format!("%0 = input {printed} f32[]")
            );
        }
    }
}
