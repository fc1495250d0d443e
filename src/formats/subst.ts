// Templates in options and arguments of jobs: {{id.dec}}, {{node.name}}, {{tmpdir}}.

export interface Rendered {
  readonly text: string;
  /** One sentence for each tag that stands for nothing; such a tag stays in the text as it was. */
  readonly errors: readonly string[];
}

const TAG = /\{\{([^{}]*)\}\}/g;

/** Whether there is anything to render. */
export function hasTemplate(text: string): boolean {
  return text.includes("{{");
}

/** Replaces each tag by what `resolve` says; undefined, or an exception (whose message it is), makes it an error. What comes out is not rendered again. */
export function renderTemplate(text: string, resolve: (tag: string) => string | undefined): Rendered {
  if (!hasTemplate(text)) return { text, errors: [] };
  const errors: string[] = [];
  const rendered = text.replace(TAG, (whole, inner: string) => {
    const tag = inner.trim();
    try {
      const value = resolve(tag);
      if (value !== undefined) return value;
      errors.push(`unknown mustache tag '${tag}'`);
    } catch (cause) {
      errors.push(cause instanceof Error ? cause.message : String(cause));
    }
    return whole;
  });
  return { text: rendered, errors };
}
