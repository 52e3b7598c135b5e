// Reads the project's TypeScript files into the few facts that the style rules look at.
import { readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import * as ast from 'typescript/unstable/ast';
import { API } from 'typescript/unstable/sync';

export interface SourceFile {
  /** From the repository root, with `/`. */
  path: string;
  text: string;
  lineCount: number;
  /** Specifiers of import and re-export statements, import() and import types. */
  imports: string[];
  /** Of values; types cost a reader nothing. */
  exports: string[];
  hasDefaultExport: boolean;
  hasReExport: boolean;
  functions: { name: string; line: number; lineCount: number }[];
  /** String and template literals; a template's holes are written `{}`. */
  literals: { text: string; line: number }[];
  /** Names used as values, `Date.now` as one name. */
  names: { name: string; line: number }[];
  routes: Route[];
}

/** A route as registered by `app.get('/path', …)` or `app.route({ method, url })`; `unreadable` says why it is not known. */
export type Route = { line: number } & ({ method: string; path: string } | { unreadable: string });

/** Every file that the tsconfig in `root` includes. */
export function readSources(root: string): SourceFile[] {
  const api = new API({ cwd: root });
  try {
    const snapshot = api.updateSnapshot({ openProjects: [join(root, 'tsconfig.json')] });
    const project = snapshot.getProjects()[0];
    if (!project) throw new Error(`No TypeScript project found in ${root}`);
    return project.rootFiles.map((file) => {
      const source = project.program.getSourceFile(file);
      if (!source) throw new Error(`Cannot parse ${file}`);
      return describe(relative(root, file).split(sep).join('/'), readFileSync(file, 'utf8'), source);
    });
  } finally {
    api.close();
  }
}

function describe(path: string, text: string, source: ast.SourceFile): SourceFile {
  const lineStarts = [0, ...[...text.matchAll(/\n/g)].map((match) => match.index + 1)];
  const lineAt = (position: number) => lineStarts.findLastIndex((start) => start <= position) + 1;
  const file: SourceFile = {
    path,
    text,
    lineCount: text.trimEnd().split('\n').length,
    imports: [],
    exports: [],
    hasDefaultExport: false,
    hasReExport: false,
    functions: [],
    literals: [],
    names: [],
    routes: [],
  };
  for (const statement of source.statements) addExports(file, statement);
  walk(source, (node) => {
    const line = lineAt(ast.skipTrivia(text, node.pos));
    addImport(file, node);
    addText(file, node, line);
    const route = routeOf(node, line);
    if (route) file.routes.push(route);
    if (ast.isFunctionLikeDeclaration(node) && 'body' in node && node.body) {
      file.functions.push({ name: nameOf(node), line, lineCount: lineAt(node.end) - line + 1 });
    }
  });
  return file;
}

function walk(node: ast.Node, visit: (node: ast.Node) => void) {
  visit(node);
  node.forEachChild((child) => walk(child, visit));
}

function addExports(file: SourceFile, statement: ast.Statement) {
  if (ast.isExportAssignment(statement)) file.hasDefaultExport = true;
  if (ast.isExportDeclaration(statement)) {
    if (statement.moduleSpecifier) file.hasReExport = true;
    const clause = statement.exportClause;
    if (clause && ast.isNamedExports(clause)) {
      for (const element of clause.elements) {
        if (element.name.text === 'default') file.hasDefaultExport = true;
        file.exports.push(element.name.text);
      }
    }
    return;
  }
  const modifiers =
    'modifiers' in statement ? (statement.modifiers as readonly ast.Node[] | undefined) : undefined;
  const kinds = (modifiers ?? []).map((modifier) => modifier.kind);
  if (!kinds.includes(ast.SyntaxKind.ExportKeyword)) return;
  if (kinds.includes(ast.SyntaxKind.DefaultKeyword)) file.hasDefaultExport = true;
  if (ast.isInterfaceDeclaration(statement) || ast.isTypeAliasDeclaration(statement)) return;
  const names = ast.isVariableStatement(statement)
    ? statement.declarationList.declarations.map(nameOf)
    : [nameOf(statement)];
  file.exports.push(...names);
}

function addImport(file: SourceFile, node: ast.Node) {
  const specifier =
    ast.isImportDeclaration(node) || ast.isExportDeclaration(node)
      ? node.moduleSpecifier
      : ast.isCallExpression(node) && node.expression.kind === ast.SyntaxKind.ImportKeyword
        ? node.arguments[0]
        : ast.isImportTypeNode(node) && ast.isLiteralTypeNode(node.argument)
          ? node.argument.literal
          : undefined;
  const text = specifier && textOf(specifier);
  if (text !== undefined) file.imports.push(text);
}

function addText(file: SourceFile, node: ast.Node, line: number) {
  const text = textOf(node);
  if (text !== undefined) file.literals.push({ text, line });
  if (ast.isIdentifier(node)) file.names.push({ name: node.text, line });
  if (ast.isPropertyAccessExpression(node) && ast.isIdentifier(node.expression)) {
    file.names.push({ name: `${node.expression.text}.${node.name.text}`, line });
  }
}

function textOf(node: ast.Node): string | undefined {
  if (ast.isStringLiteral(node) || ast.isNoSubstitutionTemplateLiteral(node)) return node.text;
  if (!ast.isTemplateExpression(node)) return undefined;
  return [node.head.text, ...node.templateSpans.map((span) => span.literal.text)].join('{}');
}

const methods = ['get', 'post', 'put', 'patch', 'delete', 'head', 'options', 'all'];
const receivers = ['app', 'server', 'fastify', 'instance', 'routes'];

function routeOf(node: ast.Node, line: number): Route | null {
  if (!ast.isCallExpression(node) || !ast.isPropertyAccessExpression(node.expression)) return null;
  const { expression, name } = node.expression;
  if (!ast.isIdentifier(expression) || !receivers.includes(expression.text)) return null;
  const [first] = node.arguments;
  if (name.text === 'route') return routeOfOptions(first, line);
  if (!methods.includes(name.text) || node.arguments.length < 2) return null;
  const path = first && textOf(first);
  if (path === undefined) return { line, unreadable: 'its path is not written as a literal' };
  return { line, method: name.text.toUpperCase(), path };
}

function routeOfOptions(options: ast.Node | undefined, line: number): Route {
  if (!options || !ast.isObjectLiteralExpression(options)) {
    return { line, unreadable: 'its options are not written as a literal' };
  }
  const fields = new Map<string, string | undefined>();
  for (const property of options.properties) {
    if (ast.isPropertyAssignment(property)) fields.set(nameOf(property), textOf(property.initializer));
  }
  const method = fields.get('method');
  const path = fields.get('url') ?? fields.get('path');
  if (!method || !path) return { line, unreadable: 'its method or url is not written as a literal' };
  return { line, method: method.toUpperCase(), path };
}

function nameOf(node: ast.Node): string {
  const name = 'name' in node ? (node.name as ast.Node | undefined) : undefined;
  if (name && ast.isIdentifier(name)) return name.text;
  return (name && textOf(name)) ?? '(anonymous)';
}
