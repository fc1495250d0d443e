// A manual page imported as text.
declare module "*.md" {
  const text: string;
  export default text;
}
